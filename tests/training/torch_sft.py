"""SFT loss and gradients by torch and transformers, one unpacked example at a time.

Run as a script (torch needed) it writes `torch_sft.npz` and `torch_sft_qwen2.npz`, the numbers that
`test_torch.py` compares with.
"""

from pathlib import Path

import numpy as np

CONFIG = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "max_position_embeddings": 128,
}
REFERENCE = Path(__file__).with_suffix(".npz")
QWEN2 = CONFIG | {"model_type": "qwen2", "tie_word_embeddings": True}
QWEN2_REFERENCE = Path(__file__).with_name("torch_sft_qwen2.npz")


def examples() -> list[tuple[list[int], list[int]]]:
    """(prompt, response) token ids of seven ragged examples."""
    random = np.random.RandomState(1)
    lengths = [(5, 9), (12, 3), (1, 14), (20, 11), (7, 1), (2, 2), (9, 17)]
    draw = lambda n: random.randint(0, CONFIG["vocab_size"], n).tolist()  # noqa: E731
    return [(draw(prompt), draw(response)) for prompt, response in lengths]


def qwen2_weights() -> dict[str, np.ndarray]:
    """Weights of the same shapes, with biases on q, k and v, and without a head."""
    c, random = QWEN2, np.random.RandomState(4)
    found = {name: value for name, value in weights().items() if name != "lm_head.weight"}
    for i in range(c["num_hidden_layers"]):
        for n, heads in (("q", c["num_attention_heads"]), ("k", 2), ("v", 2)):
            bias = 0.3 * random.standard_normal(heads * c["head_dim"])
            found[f"model.layers.{i}.self_attn.{n}_proj.bias"] = bias.astype(np.float32)
    return found


def weights() -> dict[str, np.ndarray]:
    """Random weights by their Hugging Face names, large enough for attention to matter."""
    c, random = CONFIG, np.random.RandomState(0)
    d, f, h = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * h, c["num_key_value_heads"] * h
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], d), "lm_head.weight": (c["vocab_size"], d)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.q_proj.weight": (q, d), f"{layer}.self_attn.o_proj.weight": (d, q)}
        shapes |= {f"{layer}.self_attn.{n}_proj.weight": (kv, d) for n in "kv"}
        shapes |= {f"{layer}.mlp.{n}_proj.weight": (f, d) for n in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (d, f), f"{layer}.input_layernorm.weight": (d,)}
        shapes |= {f"{layer}.post_attention_layernorm.weight": (d,)}
    shapes["model.norm.weight"] = (d,)
    return {
        name: ((len(shape) == 1) + 0.2 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def compute() -> dict[str, np.ndarray]:
    """The mean loss per response token, under "loss", and its gradient by parameter name."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return _compute(LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="eager")), weights())


def compute_qwen2() -> dict[str, np.ndarray]:
    """The same of Qwen2."""
    return _compute(qwen2_model(), qwen2_weights())


def qwen2_model():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**QWEN2, attn_implementation="eager"))


def with_weights(model, theirs):
    import torch

    model.load_state_dict({k: torch.tensor(v) for k, v in theirs.items()}, strict=False)
    model.tie_weights()
    return model.eval()


def _compute(model, theirs) -> dict[str, np.ndarray]:
    import torch

    with_weights(model, theirs)
    total = torch.zeros(())
    count = 0
    for prompt, response in examples():
        logits = model(torch.tensor([prompt + response])).logits[0]
        predicting = logits[len(prompt) - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(predicting, torch.tensor(response), reduction="sum")
        count += len(response)
    loss = total / count
    loss.backward()
    grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return {"loss": loss.detach().numpy(), **grads}


if __name__ == "__main__":
    np.savez_compressed(REFERENCE, **compute())
    np.savez_compressed(QWEN2_REFERENCE, **compute_qwen2())
