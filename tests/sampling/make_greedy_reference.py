"""Writes greedy_reference.json: the greedy tokens of transformers' `generate` after tiny_llama.py's prompts.

pip install "dast_jax[parity]" && python tests/sampling/make_greedy_reference.py
"""

from __future__ import annotations

import json
from pathlib import Path

from tiny_llama import CONFIG, EOS, prompts, tensors

MAX_NEW_TOKENS = 24
FILE = Path(__file__).with_name("greedy_reference.json")


def generate() -> list[list[int]]:
    """New tokens for every prompt, the EOS included, one prompt at a time (no padding involved)."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)  # more only get in each other's way at this size
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors().items()})
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=list(EOS), pad_token_id=EOS[0]
    )
    found = []
    with torch.no_grad():
        for prompt in prompts():
            tokens = torch.tensor([prompt])
            out = model.generate(tokens, attention_mask=torch.ones_like(tokens))
            found.append(out[0, len(prompt) :].tolist())
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps({"max_new_tokens": MAX_NEW_TOKENS, "tokens": generate()}) + "\n")
