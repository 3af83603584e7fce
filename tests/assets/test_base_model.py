"""The embedded base model and tokenizer load everywhere, and stay small."""

import json
from pathlib import Path

import numpy as np
import pytest

import dast_jax

ASSETS = Path(dast_jax.__file__).parent / "assets"
MODEL = ASSETS / "base_model"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


def test_assets_stay_within_their_size():
    size = sum(f.stat().st_size for f in ASSETS.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    assert size <= 8 * 2**20


def test_any_text_round_trips(tokenizer):
    gsm8k = Path(__file__).parents[1] / "data" / "gsm8k_sample.jsonl"
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()]
    texts = [r["question"] + "\n" + r["answer"] for r in rows]
    texts += ["", "  two  spaces\t\ttabs\n\n\nlines ", "日本語 é ½ 😀", "((1+2)*3)-4=?", "x\r\ny"]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        assert tokenizer(text)["input_ids"] == ids, "the tokenizer adds no special tokens"


def test_digits_and_frame_are_single_tokens(tokenizer):
    def pieces(text):
        return [tokenizer.decode([i]) for i in tokenizer(text)["input_ids"]]

    assert pieces("Q: ((17+2)*3)-50=?\nA: (19*3)-50 = 57-50 = 7\n#### 7\n\n") == [
        *("Q:", " ", "((", "1", "7", "+", "2", ")*", "3", ")-", "5", "0", "=?", "\nA:"),
        *(" ", "(", "1", "9", "*", "3", ")-", "5", "0", " = ", "5", "7", "-", "5", "0", " = ", "7"),
        *("\n#### ", "7", "\n\n"),
    ]
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_a_prompt_and_its_response_tokenize_as_the_whole(tokenizer):
    """So that exemplars, sampled responses and training texts are the same tokens."""
    for line in (ASSETS / "problems" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt, response = f"Q: {row['question']}\nA:", f" {row['answer']}"
        parts = tokenizer(prompt)["input_ids"] + tokenizer(response)["input_ids"]
        assert parts == tokenizer(prompt + response)["input_ids"]


def test_loads_in_this_package_and_answers_one_step_problems(tokenizer):
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from dast_jax.models.load import load_model

    loaded = load_model(MODEL)
    assert 0.5e6 < sum(leaf.size for leaf in jax.tree.leaves(loaded.params)) < 2e6

    @jax.jit
    def logits(params, tokens):
        model = nnx.merge(loaded.graphdef, params)
        return model.logits(model(tokens, jnp.arange(tokens.shape[1])[None]))

    right = 0
    for a, b in ((12, 7), (30, 4), (41, 8), (15, 15), (60, 9), (22, 6), (9, 9), (50, 20)):
        prompt = tokenizer(f"Q: {a}+{b}=?\nA: ")["input_ids"]
        text = prompt + tokenizer(str(a + b))["input_ids"]
        tokens = np.zeros((1, 16), np.int32)
        tokens[0, : len(text)] = text
        chosen = np.argmax(logits(loaded.params, tokens)[0], axis=-1)
        right += chosen[len(prompt) - 1 : len(text) - 1].tolist() == text[len(prompt) :]
    assert right >= 6


def test_loads_in_transformers_with_the_same_logits(tokenizer):
    torch = pytest.importorskip("torch", reason="torch is in the [parity] extra")
    import jax.numpy as jnp
    from flax import nnx
    from transformers import LlamaForCausalLM

    from dast_jax.models.load import load_model

    ids = tokenizer("Q: ((17+2)*3)-50=?\nA: (19*3)-50 = 57-50 = 7\n#### 7")["input_ids"]
    with torch.no_grad():
        theirs = LlamaForCausalLM.from_pretrained(MODEL)(torch.tensor([ids])).logits[0].numpy()
    loaded = load_model(MODEL)
    model = nnx.merge(loaded.graphdef, loaded.params)
    ours = np.asarray(model.logits(model(jnp.array([ids]), jnp.arange(len(ids))[None])))[0]
    assert np.abs(ours - theirs).max() <= 1e-4 * theirs.std()
