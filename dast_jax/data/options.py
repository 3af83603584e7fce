"""What can be set about data and prompts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from dast_jax.options import opt

__all__ = ["SCHEMAS", "DataOptions", "PromptOptions"]

SCHEMAS = ("auto", "gsm8k", "math", "plain")
"""How raw rows are read; `data.schemas` has one function each."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which queries are trained on, and how their rows are read."""

    train: str = opt(
        help="training queries: a .jsonl, .json, .parquet or .csv file, asset:NAME, or a hub data set as "
        "owner/name[@revision][:subset][:split]"
    )
    schema: str = opt(
        "auto", "form of the rows of data.train: by its columns (auto), or one by name", choices=SCHEMAS
    )
    limit: int = opt(0, "only so many queries; 0 takes all", min=0)
    subset_seed: int | None = opt(
        None, "draw the `limit` queries at random with this seed; null takes the first ones", min=0
    )
    strip_annotations: bool = opt(True, "drop GSM8K's calculator annotations <<48/2=24>> from solutions")

    def for_evaluation(self, *, limit: int) -> DataOptions:
        """The options to read a test set with: its own columns decide its schema; its first `limit` rows."""
        return dataclasses.replace(self, schema="auto", limit=limit, subset_seed=None)


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How a question, and exemplars before it, become a prompt."""

    style: str = opt(
        "auto",
        "plain text, the model's chat template, or chat wherever the model has a template (auto)",
        choices=("auto", "plain", "chat"),
    )
    template: str = opt("Q: {question}\nA:", "one question in plain style; {question} stands for it")
    response_prefix: str = opt(" ", "text between the template's end and the response, in plain style")
    separator: str = opt("\n\n", "text between exemplars in plain style")
    instruction: str = opt("", "text before everything; the system message in chat style")

    def __post_init__(self) -> None:
        if self.template.count("{question}") != 1:
            raise ValueError(f"template: must contain {{question}} exactly once, got {self.template!r}")
