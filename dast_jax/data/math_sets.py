"""Schemas of sets of mathematical problems, as their authors released them and as the hub has them."""

from __future__ import annotations

import re
from typing import Any

from dast_jax.data.answers import boxed_reference, reference
from dast_jax.data.fields import Fields, Row, as_list, boxed_answer, nested, number, tags, text, with_answer
from dast_jax.data.options import DataOptions

__all__ = [
    "college_math",
    "competition",
    "deepmind_mathematics",
    "gsm8k",
    "math",
    "olympiadbench",
    "plain",
    "svamp",
    "theoremqa",
]

_ANNOTATION = re.compile(r"<<[^<>]*>>")


def gsm8k(row: Row, options: DataOptions) -> Fields:
    """GSM8K (arXiv 2110.14168): `answer` holds the solution, its last line is `#### ` and the answer."""
    solution = text(row.get("answer"))
    answer = None
    if solution is not None:
        if options.strip_annotations:
            solution = _ANNOTATION.sub("", solution)
        before, marker, after = solution.rpartition("####")
        if marker:
            answer = after.strip()
            solution = solution if before.strip() else None
    return Fields(question=text(row.get("question")), answer=answer, solution=solution)


def math(row: Row, options: DataOptions) -> Fields:
    """MATH (arXiv 2103.03874): the answer is what the solution boxes (`boxed_reference`), else `answer`."""
    question, solution = text(row.get("problem")), text(row.get("solution"))
    answer = boxed_reference(question, solution) if solution else None
    return Fields(
        question=question,
        answer=answer or reference(row.get("answer"), _task(row, options)),
        solution=solution,
        tags=tags(row, "type", "subject"),
    )


def plain(row: Row, options: DataOptions) -> Fields:
    """`question` and a bare `answer`, with `solution` where there is one; or the same with capitals."""
    return Fields(
        question=text(_first(row, "question", "Question")),
        answer=reference(_first(row, "answer", "Answer"), _task(row, options)),
        solution=text(_first(row, "solution", "Solution")),
    )


def svamp(row: Row, options: DataOptions) -> Fields:
    """SVAMP (arXiv 2103.07191): body and question apart; the equation is the solution, as `#### ` ends it."""
    body, asked = text(row.get("Body")), text(row.get("question")) or text(row.get("Question"))
    answer = text(row.get("answer")) or text(row.get("Answer"))
    if answer is not None:
        answer = answer.removesuffix(".0")
    question = f"{body}{' ' if body[-1] in '.?!' else ', '}{asked}" if body and asked else asked
    equation = text(row.get("Equation"))
    if equation is not None:
        equation = re.sub(r"(\d)\.0(?!\d)", r"\1", equation).replace("( ", "(").replace(" )", ")")
    return Fields(
        question=question,
        answer=answer,
        solution=f"{equation} = {answer}\n#### {answer}" if equation and answer else None,
        task="number",
        tags=tags(row, "Type"),
    )


_ASKS_MORE = re.compile(
    r"\bif (?:so|yes|not|it (?:is|does)|there (?:is|are)|they (?:are|do))\b[^.?]*"
    r"\b(?:find|give|compute|what|which|how many|determine|write|state)\b"
    r"|\bof what\b|\b(?:find|give|name) (?:one|it|an? example)\b",
    re.IGNORECASE,
)
"""A question whose yes is only half of the answer."""


def college_math(row: Row, options: DataOptions) -> Fields:
    """College-Math (arXiv 2403.02884, MWPBench): the book's topic is the tag.

    [ours] Of a reference like "Yes. It has a unique solution." the yes is the answer, unless the question
    asks for more ("If so, find one."); "Solution is:" is cut.
    """
    topic = text(row.get("data_topic"))
    question = text(row.get("question"))
    answer = re.sub(r"^(?:The )?solution is\s*:?\s*", "", text(row.get("answer")) or "", flags=re.IGNORECASE)
    yes_no = re.match(r"(Yes|No)(?:[.,;:]|$)", answer)
    if yes_no and answer[yes_no.end() :].strip() and _ASKS_MORE.search(question or ""):
        yes_no = None
    return Fields(
        question=question,
        answer=yes_no[1] if yes_no else answer or None,
        task="yes_no" if yes_no else "math",
        tags=(topic.rpartition(".")[2].replace("_", " "),) if topic else (),
    )


def theoremqa(row: Row, options: DataOptions) -> Fields:
    """TheoremQA (arXiv 2305.12524): the kind of answer decides the family.

    [ours] Floats are correct within 4 % of the reference, as in its authors' grader; whole numbers exactly.
    Problems that need a picture have the tag "picture".
    """
    kind = text(row.get("Answer_type")) or ""
    families = {
        "integer": "math",
        "float": "math~0.04",
        "list of integer": "list",
        "list of float": "list~0.04",
        "bool": "bool",
        "option": "choice",
    }
    picture = row.get("Picture")
    answer = row.get("Answer")
    return Fields(
        question=text(row.get("Question")),
        answer=text(_parsed(answer)) if kind == "bool" else reference(answer, families.get(kind, "math")),
        task=families.get(kind, "math"),
        tags=tags(row, "field", "subfield") + (("picture",) if picture not in (None, "", "NONE") else ()),
    )


def deepmind_mathematics(row: Row, options: DataOptions) -> Fields:
    """DeepMind mathematics (arXiv 1904.01557); on the hub its texts are written as Python bytes."""
    question, answer = (_without_bytes(text(row.get(name))) for name in ("question", "answer"))
    listed = answer is not None and re.fullmatch(r"\[[^\[\]]*\]", answer) is not None
    return Fields(question=question, answer=answer, task="list" if listed else "math")


def olympiadbench(row: Row, options: DataOptions) -> Fields:
    """OlympiadBench (arXiv 2402.14008): `error` is how far off an answer may be.

    Several final answers are joined by commas.
    """
    context, question = text(row.get("context")), text(row.get("question"))
    answers = [a for a in map(text, as_list(nested(row.get("final_answer")))) if a]
    answer = re.sub(r"\$\s*,\s*\$", ", ", ", ".join(answers)) or None  # one formula, not several
    error = text(row.get("error"))
    allowed = error is not None and re.fullmatch(r"\d*\.?\d+(?:[eE]-?\d+)?", error) is not None
    solutions = [s for s in map(text, as_list(nested(row.get("solution")))) if s]
    return Fields(
        question=f"{context}\n{question}" if context and question else question,
        answer=answer,
        solution=with_answer(solutions[0] if solutions else None, answer),
        level=text(row.get("difficulty")),
        task=f"math+-{float(error or 0):g}" if allowed else "math",
        tags=tags(row, "subfield"),
    )


def competition(row: Row, options: DataOptions) -> Fields:
    """AIME and AMC: `problem` and a number as `answer`, with `solution` where there is one.

    Some copies write these names with capitals, and `Question` for the problem.
    """
    answer = reference(_whole(_first(row, "answer", "Answer")), _task(row, options))
    solution = text(_first(row, "solution", "Solution"))
    boxed = boxed_answer(solution) if solution else None
    return Fields(
        question=text(_first(row, "problem", "question", "Problem", "Question")),
        answer=answer,
        solution=solution if boxed is not None and boxed == answer else with_answer(solution, answer),
        tags=tags(row, "type", "subject"),
    )


# --- helpers ------------------------------------------------------------------------------------------


def _task(row: Row, options: DataOptions) -> str:
    """Return the row's own task, or the config's where that applies."""
    return text(row.get("task")) or options.task


def _whole(value: Any) -> Any:
    """Return a cell; text such as `27.0` without its `.0`."""
    return number(value) if isinstance(value, str) else value


def _first(row: Row, *names: str) -> Any:
    """Return the first cell under `names` that is not empty, or None."""
    return next((cell for cell in map(row.get, names) if cell is not None and cell != ""), None)


def _parsed(value: Any) -> Any:
    return {"true": "True", "false": "False"}.get(str(value).casefold(), value)


def _without_bytes(value: str | None) -> str | None:
    if value and len(value) > 2 and value[:2] in ("b'", 'b"') and value[-1] == value[1]:
        return text(value[2:-1].replace("\\n", "\n").replace("\\'", "'"))
    return value
