"""From a raw row to a `Query`: the table of schemas, and which one a source has.

A schema is a function that takes a row (a mapping of columns) and the options, and returns the `Fields` it
finds (`math_sets`, `choice_sets`, `chat_sets`). The columns `id`, `level`, `steps`, `task` and `tags` are
understood in every schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from dast_jax.data import chat_sets, choice_sets, math_sets
from dast_jax.data.fields import Fields, Row, check_text, tags, text
from dast_jax.data.options import DataOptions
from dast_jax.errors import UserError
from dast_jax.records import Query
from dast_jax.verifiers.families import read_task
from dast_jax.verifiers.functions import Functions

__all__ = ["READERS", "Fields", "detect_schema", "read_row"]

READERS: Mapping[str, Callable[[Row, DataOptions], Fields]] = {
    "gsm8k": math_sets.gsm8k,
    "math": math_sets.math,
    "svamp": math_sets.svamp,
    "arc_challenge": choice_sets.choices,
    "commonsense_qa": choice_sets.choices,
    "cladder": choice_sets.cladder,
    "anli": choice_sets.anli,
    "college_math": math_sets.college_math,
    "theoremqa": math_sets.theoremqa,
    "tal_scq": choice_sets.tal_scq,
    "deepmind_mathematics": math_sets.deepmind_mathematics,
    "olympiadbench": math_sets.olympiadbench,
    "aime24": math_sets.competition,
    "amc23": math_sets.competition,
    "messages": chat_sets.messages,
    "prompt_completion": chat_sets.prompt_completion,
    "alpaca": chat_sets.alpaca,
    "plain": math_sets.plain,
}
"""Schema → its reader; `data.options.SCHEMAS` has the same names."""

_ID_COLUMNS = ("id", "ID", "uid", "unique_id", "queId", "question_id")


def read_row(
    row: Row,
    schema: str,
    options: DataOptions,
    *,
    id: str,
    source: str,
    functions: Functions = MappingProxyType({}),
) -> Query | None:
    """Return the row as a `Query`, or None when it has no question or no answer.

    `id` serves a row without an id of its own, `source` says where the row came from. A row with `steps`
    and no `level` takes the number of steps as its level. The task family is the row's own `task`, else
    `options.task`, else the schema's; the row's own may be a name of the config's `functions`, and is no
    code. Raises `UserError` naming `source` for a row whose task is unknown, or that a schema refuses.
    """
    own_task = text(row.get("task"))
    try:
        if own_task:
            read_task(own_task, functions)
        fields = READERS[schema](row, options)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    if not fields.question or not fields.answer:
        return None
    own_id = next((found for name in _ID_COLUMNS if (found := text(row.get(name)))), id)
    for name, found in (
        ("id", own_id),
        ("question", fields.question),
        ("answer", fields.answer),
        ("solution", fields.solution or ""),
    ):
        check_text(found, f"{source}: its {name}")
    steps = text(row.get("steps"))
    solution = fields.solution
    if solution is None and options.answer_as_solution:
        solution = f"The answer is {fields.answer}."
    task = options.task if options.training or schema == "plain" else ""
    return Query(
        id=own_id,
        question=fields.question,
        answer=fields.answer,
        solution=solution,
        level=fields.level or text(row.get("level")) or (f"steps {steps}" if steps else None),
        task=own_task or task or fields.task,
        source=source,
        tags=tags(row, "tags") or fields.tags,
    )


def detect_schema(rows: Sequence[Row]) -> str | None:
    """Return the name of the schema whose columns `rows` (some first rows of a source) have, or None."""
    columns = {name for row in rows for name in row}
    for schema, needed in _COLUMNS:
        if any(names <= columns for names in needed):
            return schema
    if {"question", "answerKey"} <= columns and any(isinstance(r.get("question"), Mapping) for r in rows):
        return "commonsense_qa"
    if {"problem", "answer"} <= columns and not {"type", "subject"} & columns:
        return "aime24" if "solution" in columns else "amc23"
    if {"Problem", "Answer"} <= columns or {"Question", "Answer", "Problem Number"} <= columns:
        return "aime24" if "Solution" in columns else "amc23"
    if {"problem", "solution"} <= columns:
        return "math"
    if {"question", "answer"} <= columns:
        marked = any("####" in str(row.get("answer")) for row in rows)
        if marked and "solution" not in columns:
            return "gsm8k"
        as_bytes = any(str(row.get("question")).startswith(("b'", 'b"')) for row in rows)
        return "deepmind_mathematics" if as_bytes else "plain"
    if {"Question", "Answer"} <= columns:
        return "plain"
    return next((schema for schema, needed in _CHATS if any(names <= columns for names in needed)), None)


_CHATS: Sequence[tuple[str, Sequence[set[str]]]] = (
    ("alpaca", [{"instruction", "output"}, {"instruction", "response"}]),
    ("prompt_completion", [{"prompt", "completion"}, {"query", "response"}, {"prompt", "answer"}]),
    ("messages", [{"messages"}, {"conversations"}, {"conversation"}]),
)
"""As `_COLUMNS`, for rows that were made for training chat models; not where a `question` has its answer."""

_COLUMNS: Sequence[tuple[str, Sequence[set[str]]]] = (
    ("tal_scq", [{"problem", "answer_option_list"}]),
    ("anli", [{"premise", "hypothesis", "label"}, {"context", "hypothesis", "label"}]),
    ("commonsense_qa", [{"question_concept", "choices", "answerKey"}]),
    ("arc_challenge", [{"choices", "answerKey"}]),
    ("svamp", [{"Body", "Question"}, {"Body", "question"}]),
    ("theoremqa", [{"Question", "Answer", "Answer_type"}]),
    ("olympiadbench", [{"question", "final_answer"}]),
    ("college_math", [{"question", "answer", "data_topic"}]),
    ("cladder", [{"rung", "query_type"}, {"given_info", "question", "answer"}]),
)
"""Schema → sets of columns, any of which only it has; the first that fits is taken."""
