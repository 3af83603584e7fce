"""Preference losses by TRL's own trainers (Apache-2.0), pair by pair, for the cases that TRL has.

Run as a script (trl 1.16 and torch needed; trl is no dependency) it writes `trl_preference.npz`, the numbers
that `test_preference_torch.py` compares with. Policies and pairs are those of `torch_preference`.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch_preference
import torch_sft

REFERENCE = Path(__file__).with_suffix(".npz")
CASES = {
    "sigmoid": {"preference_loss": "sigmoid", "beta": 0.1},
    "ipo": {"preference_loss": "ipo", "beta": 0.4},
    "rpo": {"preference_loss": "rpo", "beta": 0.1, "rpo_alpha": 0.7},
    "simpo": {"preference_loss": "simpo", "beta": 2.0, "simpo_gamma": 0.5},
}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(torch_sft.CONFIG["vocab_size"])}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="w0", eos_token="w1")


def dpo_losses(case: dict) -> list[float]:
    """The loss that `DPOTrainer` finds for a batch of each pair alone."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    names = {"sigmoid": ["sigmoid"], "ipo": ["ipo"], "rpo": ["sigmoid", "sft"]}[case["preference_loss"]]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            torch_preference.model(torch_sft.weights()),
            torch_preference.model(torch_preference.reference_weights()),
            args=DPOConfig(
                output_dir=folder,
                beta=case["beta"],
                loss_type=names,
                loss_weights=[1.0, case["rpo_alpha"]] if "sft" in names else None,
                use_cpu=True,
                bf16=False,
                report_to=[],
            ),
            train_dataset=Dataset.from_list([{"prompt": "w2", "chosen": "w3", "rejected": "w4"}]),
            processing_class=tokenizer(),
        )
    trainer.model.eval()
    found = []
    for prompt, chosen, rejected in torch_preference.pairs():
        example = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        batch = trainer.data_collator([example])
        found.append(float(trainer._compute_loss(trainer.model, batch, False)))
    return found


def simpo_losses(case: dict) -> list[float]:
    """The loss that `CPOTrainer` finds from mean log-probabilities."""
    import torch
    from trl.experimental.cpo import CPOTrainer

    trainer = CPOTrainer.__new__(CPOTrainer)  # its loss needs these and no more
    trainer.loss_type, trainer.beta, trainer.label_smoothing = "simpo", case["beta"], 0.0
    trainer.simpo_gamma, trainer.alpha = case["simpo_gamma"], 0.0
    trainer.accelerator = type("Cpu", (), {"device": "cpu"})
    with torch.no_grad():
        logprobs = torch_preference.logprobs(torch_preference.model(torch_sft.weights()))
    lengths = torch.tensor([[len(chosen), len(rejected)] for _, chosen, rejected in torch_preference.pairs()])
    average = logprobs / lengths
    return trainer.cpo_loss(average[:, 0], average[:, 1])[0].tolist()


def compute() -> dict[str, np.ndarray]:
    return {
        name: np.array((simpo_losses if name == "simpo" else dpo_losses)(case), np.float32)
        for name, case in CASES.items()
    }


if __name__ == "__main__":
    np.savez_compressed(REFERENCE, **compute())
