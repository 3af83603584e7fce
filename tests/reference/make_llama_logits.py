"""Writes llama_logits.npz: logits and greedy tokens of transformers' models on the cases of llama_cases.py.

    python tests/reference/make_llama_logits.py

Needs torch and transformers; the tests that read the file need neither.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from reference.llama_cases import (
    CASES,
    GREEDY,
    GREEDY_PROMPTS,
    GREEDY_TOKENS,
    KEPT,
    hf_config,
    inputs,
    weights,
)


def reference_model(name: str) -> transformers.PreTrainedModel:
    """Returns transformers' model of a case, float32, with the case's weights."""
    config = hf_config(name)
    made = transformers.AutoConfig.for_model(**config)
    model = getattr(transformers, config["architectures"][0])(made)
    state = {key: torch.from_numpy(value) for key, value in weights(name).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model.eval()


def reference_logits(name: str) -> np.ndarray:
    """Returns float32 logits [2, LENGTH, V]."""
    tokens, positions = (torch.from_numpy(x).long() for x in inputs(name))
    with torch.no_grad():
        return reference_model(name)(tokens, position_ids=positions).logits.numpy()


def greedy_tokens(name: str) -> np.ndarray:
    """Returns the tokens [prompts, GREEDY_TOKENS] that `generate` adds to each prompt by itself."""
    torch.set_num_threads(1)  # more only get in each other's way at this size
    model = reference_model(name)
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=GREEDY_TOKENS, eos_token_id=None, pad_token_id=0
    )
    rows = []
    with torch.no_grad():
        for prompt in GREEDY_PROMPTS:
            tokens = torch.tensor([prompt])
            out = model.generate(tokens, attention_mask=torch.ones_like(tokens))
            rows.append(out[0, len(prompt) :].numpy())
    return np.stack(rows).astype(np.int32)


def main() -> None:
    arrays = {}
    for name in CASES:
        logits = reference_logits(name)
        arrays[name] = logits[:, list(KEPT)]
        arrays[f"{name}/std"] = logits.std()
        print(f"{name:24} std {logits.std():.3f}")
    for name in GREEDY:
        arrays[f"{name}/greedy"] = greedy_tokens(name)
    arrays["versions"] = np.array(f"torch {torch.__version__}, transformers {transformers.__version__}")
    np.savez_compressed(Path(__file__).with_name("llama_logits.npz"), **arrays)


if __name__ == "__main__":
    main()
