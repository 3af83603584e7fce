"""Preference losses by torch and transformers, one unpacked response at a time, from the papers' formulas.

Run as a script (torch needed) it writes `torch_preference.npz`, the numbers `test_preference_torch.py`
compares with: of each pair its log-probabilities under policy and reference, and of each case below the
mean loss over pairs and its gradient by parameter name.
"""

from pathlib import Path

import numpy as np
import torch_sft

REFERENCE = Path(__file__).with_suffix(".npz")
QWEN2_REFERENCE = Path(__file__).with_name("torch_preference_qwen2.npz")
CASES = {
    "sigmoid": {"preference_loss": "sigmoid", "beta": 0.1},
    "smoothed": {"preference_loss": "sigmoid", "beta": 0.3, "label_smoothing": 0.2},
    "ipo": {"preference_loss": "ipo", "beta": 0.4},
    "rpo": {"preference_loss": "rpo", "beta": 0.1, "rpo_alpha": 0.7, "label_smoothing": 0.1},
    "simpo": {"preference_loss": "simpo", "beta": 2.0, "simpo_gamma": 0.5},
}


def pairs() -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) token ids of six ragged pairs."""
    random = np.random.RandomState(2)
    lengths = [(5, 9, 4), (12, 3, 3), (1, 14, 8), (20, 2, 5), (7, 1, 6), (2, 6, 1)]
    return [
        tuple(random.randint(0, torch_sft.CONFIG["vocab_size"], n).tolist() for n in three)
        for three in lengths
    ]


def reference_weights() -> dict[str, np.ndarray]:
    """The reference policy: the policy's weights, slightly perturbed."""
    random = np.random.RandomState(3)
    return {
        name: (value + 0.02 * random.standard_normal(value.shape)).astype(np.float32)
        for name, value in torch_sft.weights().items()
    }


def model(weights):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    made = LlamaForCausalLM(LlamaConfig(**torch_sft.CONFIG, attn_implementation="eager"))
    made.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    return made.eval()


def logprobs(model):
    """Summed log-probabilities [n, 2] of chosen and rejected responses."""
    import torch

    rows = []
    for prompt, *responses in pairs():
        for response in responses:
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            rows.append(torch.log_softmax(logits, -1)[torch.arange(len(response)), response].sum())
    return torch.stack(rows).reshape(-1, 2)


def losses(policy, reference, lengths, case):
    """The loss of each pair [n] from log-probabilities and lengths [n, 2]."""
    from torch.nn.functional import logsigmoid

    beta, epsilon = case["beta"], case.get("label_smoothing", 0.0)
    ratio = policy - reference
    delta = ratio[:, 0] - ratio[:, 1]
    average = policy / lengths
    match case["preference_loss"]:
        case "ipo":
            mean_ratio = ratio / lengths
            return (mean_ratio[:, 0] - mean_ratio[:, 1] - 1 / (2 * beta)) ** 2
        case "simpo":
            return -logsigmoid(beta * (average[:, 0] - average[:, 1]) - case["simpo_gamma"])
    dpo = -(1 - epsilon) * logsigmoid(beta * delta) - epsilon * logsigmoid(-beta * delta)
    if case["preference_loss"] == "rpo":
        return dpo - case["rpo_alpha"] * average[:, 0]
    return dpo


def compute() -> dict[str, np.ndarray]:
    import torch

    policy = model(torch_sft.weights())
    with torch.no_grad():
        reference = logprobs(model(reference_weights()))
        result = {"policy": logprobs(policy).numpy(), "reference": reference.numpy()}
    lengths = torch.tensor([[len(chosen), len(rejected)] for _, chosen, rejected in pairs()])
    for name, case in CASES.items():
        policy.zero_grad()
        each = losses(logprobs(policy), reference, lengths, case)
        each.mean().backward()
        result[f"{name}/losses"] = each.detach().numpy()
        for parameter, value in policy.named_parameters():
            result[f"{name}/{parameter}"] = value.grad.numpy().copy()
    return result


def compute_qwen2() -> dict[str, np.ndarray]:
    """DPO of a Qwen2 against made-up scores of a reference: these, the mean loss, and its gradient."""
    import torch

    policy = torch_sft.with_weights(torch_sft.qwen2_model(), torch_sft.qwen2_weights())
    scores = logprobs(policy)
    noise = np.random.RandomState(5).standard_normal(scores.shape).astype(np.float32)
    reference = scores.detach() + torch.tensor(noise)
    lengths = torch.tensor([[len(chosen), len(rejected)] for _, chosen, rejected in pairs()])
    loss = losses(scores, reference, lengths, CASES["sigmoid"]).mean()
    loss.backward()
    grads = {name: parameter.grad.numpy() for name, parameter in policy.named_parameters()}
    return {"reference": reference.numpy(), "loss": loss.detach().numpy(), **grads}


if __name__ == "__main__":
    np.savez_compressed(REFERENCE, **compute())
    np.savez_compressed(QWEN2_REFERENCE, **compute_qwen2())
