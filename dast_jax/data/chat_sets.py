"""Schemas of rows made for training chat models: chats, prompts with completions, instructions with outputs.

Such a row has a worked response and no column for the answer to check: that is read from where the response
states it (a box, `####`, `<answer>`, "the answer is"), unless the row has an `answer`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dast_jax.data.answers import reference
from dast_jax.data.fields import Fields, Row, text
from dast_jax.data.options import DataOptions
from dast_jax.errors import UserError
from dast_jax.verifiers.families import FAMILIES
from dast_jax.verifiers.functions import FAMILY_NAMES
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.response import graded_part

__all__ = ["CHAT_SCHEMAS", "alpaca", "ignored_parts", "messages", "preference_form", "prompt_completion"]

CHAT_SCHEMAS = ("messages", "prompt_completion", "alpaca")

_CHATS = ("messages", "conversations", "conversation")
"""Columns of a whole chat."""

_USER = ("user", "human")
_ASSISTANT = ("assistant", "gpt", "model")
_SYSTEM = ("system", "developer")
_STATED = ("boxed", "answer tag", "after ####", "answer is", "bare answer", "opens a sentence")
"""Where a reference solution states its answer; elsewhere it would be a guess."""


def messages(row: Row, options: DataOptions) -> Fields:
    """Read a chat of one question and one answer: `messages` (role, content), `conversations` (from, value).

    The last assistant message is the solution; without one, the row needs an `answer`. A system message is
    not part of the question (`ignored_parts`).
    """
    name = next(name for name in _CHATS if row.get(name) is not None)
    return _of_chat(row, _turns(row[name], name), name, options)


def prompt_completion(row: Row, options: DataOptions) -> Fields:
    """Read `prompt` and `completion` as in TRL, text or messages; or `query` and `response`."""
    names = ("prompt", "completion") if row.get("prompt") is not None else ("query", "response")
    prompt, completion = (row.get(name) for name in names)
    if isinstance(prompt, list | tuple):
        turns = list(_turns(prompt, names[0]))
        if isinstance(completion, list | tuple):
            turns += _turns(completion, names[1])
        elif text(completion):
            turns.append(("assistant", text(completion) or ""))
        return _of_chat(row, turns, names[0], options)
    if isinstance(completion, list | tuple):
        raise UserError(f"{names[1]} is a list of messages and {names[0]} is not; make both the same")
    return _with_stated_answer(row, text(prompt), text(completion), names[1], options)


def alpaca(row: Row, options: DataOptions) -> Fields:
    """Read Alpaca's `instruction`, `input` (below it, where there is one) and `output`; Dolly's names too."""
    name = "output" if "output" in row else "response"
    given = text(row.get("input")) or text(row.get("context"))
    instruction = text(row.get("instruction"))
    question = f"{instruction}\n\n{given}" if instruction and given else instruction
    return _with_stated_answer(row, question, text(row.get(name)), name, options)


def ignored_parts(schema: str, rows: Sequence[tuple[int, Row]]) -> Iterator[str]:
    """Yield, for a warning, what rows of a chat schema have that is not read."""
    if schema not in CHAT_SCHEMAS:
        return
    system: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    for _, row in rows:
        found = [m for name in (*_CHATS, "prompt", "completion") for m in _messages_in(row.get(name))]
        system.update({text(_content(m)) or "" for m in found if _role(m) in _SYSTEM})
        keys.update({str(key) for m in found for key, value in m.items() if value} - _READ)
        if text(row.get("system")):
            system[text(row.get("system")) or ""] += 1
    if system:
        (most, _), count = system.most_common(1)[0], sum(system.values())
        kinds = f"{len(system)} different ones" if len(system) > 1 else "the same one"
        yield (
            f"the system messages of {count} rows ({kinds}, such as {most[:60]!r}) are not part of the "
            "questions; set prompts.instruction to use one"
        )
    if keys:
        named = ", ".join(f"{key} ({count} rows)" for key, count in keys.most_common(5))
        yield f"of messages, role and content are read; ignored are {named}"


def preference_form(columns: Sequence[str]) -> str | None:
    """Return the sentence about rows of preference pairs, which cannot be read; None for other columns."""
    if not {"chosen", "rejected"} <= set(columns):
        return None
    return (
        f"its columns ({', '.join(sorted(columns)[:8])}) look like preference pairs, without an answer to "
        "check; write each row's question and final answer to columns question and answer (and the worked "
        "solution to solution), or name such columns in data.columns"
    )


# --- chats --------------------------------------------------------------------------------------------

_READ = {"role", "content", "from", "value"}


def _messages_in(value: Any) -> list[Mapping[str, Any]]:
    return [m for m in value if isinstance(m, Mapping)] if isinstance(value, list | tuple) else []


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role", message.get("from", ""))).casefold()


def _content(message: Mapping[str, Any]) -> Any:
    return message.get("content", message.get("value"))


def _turns(value: Any, name: str) -> list[tuple[str, str]]:
    """Return (role, text) of each message but the system's. Raises `UserError` for what is no chat."""
    found = []
    for number, message in enumerate(value if isinstance(value, list | tuple) else [value], 1):
        if not isinstance(message, Mapping) or not _role(message):
            raise UserError(f"{name}: message {number} has no role and content")
        role = _role(message)
        if role in _SYSTEM:
            continue
        if role not in (*_USER, *_ASSISTANT):
            raise UserError(f"{name}: message {number} has the role {role!r}; known are user and assistant")
        content = _text_of(_content(message))
        if content is None:
            raise UserError(f"{name}: message {number} ({role}) has no text")
        found.append(("user" if role in _USER else "assistant", content))
    return found


def _text_of(content: Any) -> str | None:
    """Return the text of a message, which may be in parts; None for an empty one and for other media."""
    if not isinstance(content, list | tuple):
        return text(content)
    parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
    return None if None in parts else text("\n".join(map(str, parts)))


def _of_chat(row: Row, turns: Sequence[tuple[str, str]], name: str, options: DataOptions) -> Fields:
    """Return the fields of a chat. Raises `UserError` for one of several questions."""
    asked = [content for role, content in turns if role == "user"]
    said = [content for role, content in turns if role == "assistant"]
    if len(asked) > 1:
        raise UserError(
            f"{name}: has {len(asked)} user messages, and a query is one question; keep one question and its "
            "answer in a row"
        )
    if len(said) > 1 or (said and turns[-1][0] != "assistant"):
        raise UserError(f"{name}: should be one user message and the assistant's answer after it")
    return _with_stated_answer(row, asked[0] if asked else None, said[0] if said else None, name, options)


# --- answers ------------------------------------------------------------------------------------------


def _with_stated_answer(
    row: Row, question: str | None, solution: str | None, name: str, options: DataOptions
) -> Fields:
    """Return the fields with the row's own answer, else with what its solution states."""
    task = text(row.get("task")) or options.task
    answer = reference(row.get("answer"), task)
    if answer is None and solution is not None:
        answer = _stated(solution, task)
        if answer is None:
            raise UserError(
                f"{name}: nothing in it is marked as the answer (\\boxed{{…}}, #### …, <answer>, `The answer "
                "is …`); mark it, or add a column answer"
            )
    bare = answer is not None and solution == answer
    return Fields(question=question, answer=answer, solution=None if bare else solution)


def _stated(solution: str, task: str) -> str | None:
    """Return the answer that a worked solution states, as the verifier of `task` finds it."""
    head = task.partition("~")[0].partition("+-")[0].partition("±")[0] or "math"
    if head not in FAMILY_NAMES:  # a function of the config's checks whole responses
        return None
    found = FAMILIES[head].extract(graded_part(solution), VerifierOptions())
    return found.answer.strip() or None if found.answer and found.found in _STATED else None
