"""Options of data and prompts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from dast_jax.options import opt

__all__ = ["COLUMNS", "SCHEMAS", "DataOptions", "PromptOptions"]

SCHEMAS = (
    "auto",
    "gsm8k",
    "math",
    "svamp",
    "arc_challenge",
    "commonsense_qa",
    "cladder",
    "anli",
    "college_math",
    "theoremqa",
    "tal_scq",
    "deepmind_mathematics",
    "olympiadbench",
    "aime24",
    "amc23",
    "messages",
    "prompt_completion",
    "alpaca",
    "plain",
)
"""How raw rows are read; `data.schemas` has one function each."""

COLUMNS = ("question", "answer", "solution", "choices", "level", "task", "id", "tags")
"""The keys of `data.columns`."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which queries are trained on, and how their rows are read."""

    train: str = opt(
        help="training queries: a .jsonl, .json, .parquet or .csv file, asset:NAME, or a hub data set as "
        "owner/name[@revision][:subset or folder][:split]"
    )
    schema: str = opt(
        "auto", "schema of data.train's rows: detected by its columns (auto), or one by name", choices=SCHEMAS
    )
    columns: dict[str, str] = opt(
        {},
        "the columns of other data, as {question: …, answer: …, solution: …, choices: …, level: …, task: …}; "
        "test sets of unknown schema that have these columns are read this way too",
        choices=COLUMNS,
    )
    mixture: dict[str, float] = opt(
        {},
        "further sources of training queries with their weights, {source: weight}, beside data.train's 1; as "
        "many queries are taken of each as the weights say, none twice",
        min=0,
    )
    task: str = opt(
        "",
        "task family of rows without a task column (math, number, choice, yes_no, label, bool, list), or a "
        "custom verifier as package.module:function or by its name in verifier.functions; empty takes "
        "the schema's; in test sets it applies to rows of unknown schema",
    )
    answer_as_solution: bool = opt(
        False, "use `The answer is …` as the solution of a query without one, to be trained on"
    )
    limit: int = opt(0, "number of queries to take; 0 takes all", min=0)
    subset_seed: int | None = opt(
        None, "draw the `limit` queries at random with this seed; null takes the first ones", min=0
    )
    strip_annotations: bool = opt(True, "remove GSM8K's calculator annotations <<48/2=24>> from solutions")

    training: ClassVar[bool] = True
    """Whether this is how the training queries are read."""

    def __post_init__(self) -> None:
        missing = [name for name in ("question", "answer") if name not in self.columns]
        if self.columns and missing:
            raise ValueError(f"columns: {' and '.join(missing)} must be named too, got {self.columns}")
        if self.columns and self.schema not in ("auto", "plain"):
            raise ValueError(f"columns: are not used with schema {self.schema}; remove one of the two")
        if any(weight <= 0 for weight in self.mixture.values()):
            raise ValueError(f"mixture: weights must be above 0, got {self.mixture}")

    def for_evaluation(self, *, limit: int) -> DataOptions:
        """Return options for reading a test set: its columns decide its schema; the first `limit` rows."""
        return self._as_other(limit=limit, subset_seed=None)

    def for_mixture(self) -> DataOptions:
        """Return options for reading a further source of the mixture, all of it: its columns decide."""
        return self._as_other(limit=0, subset_seed=None)

    def _as_other(self, **changes: int | None) -> DataOptions:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _OtherData(**values | {"schema": "auto", "mixture": {}} | changes)


class _OtherData(DataOptions):
    """How another source than data.train is read: what describes that applies only where it fits."""

    training = False


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """How a question, and exemplars before it, become a prompt."""

    style: str = opt(
        "auto",
        "plain text, the model's chat template, or chat wherever the model has a template (auto)",
        choices=("auto", "plain", "chat"),
    )
    template: str = opt("Q: {question}\nA:", "one question in plain style, in place of {question}")
    response_prefix: str = opt(" ", "text between the template's end and the response, in plain style")
    separator: str = opt("\n\n", "text between exemplars in plain style")
    instruction: str = opt("", "text before everything; the system message in chat style")
    user_template: str = opt("{question}", "the user's turn in chat style, in place of {question}")
    user_suffix: str = opt("", "text after every user's turn in chat style, such as how to mark the answer")
    exemplars: str = opt(
        "", "file of solved problems that few-shot prompts show, from its first, in place of the data's own"
    )

    def __post_init__(self) -> None:
        for name in ("template", "user_template"):
            value = getattr(self, name)
            if value.count("{question}") != 1:
                raise ValueError(f"{name}: must contain {{question}} exactly once, got {value!r}")
