"""The verifier: guard, extraction, exact comparison, and only then symbolic comparison in a worker."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from types import TracebackType

from dast_jax.records import Verdict, VerdictKind
from dast_jax.verifiers.equivalence import Tolerance, split_parts
from dast_jax.verifiers.extract import extract_reference, one_box_each, stated_texts
from dast_jax.verifiers.families import FAMILIES, Task, read_task
from dast_jax.verifiers.functions import functions_of
from dast_jax.verifiers.guard import refuse_answer, refuse_text
from dast_jax.verifiers.normalize import clean, parse_number, text_key
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.pool import WorkerPool
from dast_jax.verifiers.response import graded_part

__all__ = ["Verifier"]

_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_PLAIN_NUMBER = re.compile(r"-?(?:\\?\$)?\d{1,20}(?:,\d{3}){0,5}(?:\.\d{1,20})?", re.ASCII)
"""A prediction that is nothing else is its own answer (`18`, `$1,250.50`): it has no mark and no words."""
_REFERENCES = 4_096
"""References that are kept as they were read: the samples of a query have the same one."""
_NOTHING = re.compile(r"[\s$.,;:*!?=_#-]*")


class Verifier:
    """Judges predictions against reference answers.

        with Verifier() as verifier:
            verifier.verify_one("1/2", r"So it is \\boxed{0.5}.").correct

    Plain numbers, words, lists of numbers and refusals are decided immediately, in this process; the rest is
    compared symbolically by worker processes, which start when first needed. A task that `options.functions`
    names is a custom function, called in separate workers with the whole reference and prediction:
    (reference: str, prediction: str) -> bool | Verdict. So is `task`, the config's `data.task`, where it is
    written `package.module:function`; any other task written so is refused. Thread-safe. A prediction never
    raises; an unknown task does, and a function that cannot be imported (`UserError`).
    """

    def __init__(self, options: VerifierOptions | None = None, *, task: str = ""):
        self.options = options or VerifierOptions()
        self._table = functions_of(self.options.functions, task)
        self._pool = WorkerPool(self.options)
        self._functions: dict[str, WorkerPool] = {}
        self._known: OrderedDict[tuple[str, str, Tolerance | None], Future[Verdict]] = OrderedDict()
        self._lock = threading.Lock()
        self._reference = lru_cache(maxsize=_REFERENCES)(self._read_reference)

    def verify_one(self, reference: str, prediction: str, task: str = "math") -> Verdict:
        """Wait for the verdict on one prediction (a bare answer or a whole response) and return it."""
        verdict = self._decide(reference, prediction, task)
        return verdict if isinstance(verdict, Verdict) else verdict.result()

    def submit(self, reference: str, prediction: str, task: str = "math") -> Future[Verdict]:
        """Return the future verdict, which is done unless it requires symbolic comparison."""
        verdict = self._decide(reference, prediction, task)
        if not isinstance(verdict, Verdict):
            return verdict
        done: Future[Verdict] = Future()
        done.set_result(verdict)
        return done

    def verify_many(self, rows: Iterable[Sequence[str]]) -> list[Verdict]:
        """Return the verdicts on rows of (reference, prediction[, task]), in order."""
        pending = [self._decide(*row) for row in rows]
        return [v if isinstance(v, Verdict) else v.result() for v in pending]

    def worker_pids(self) -> list[int]:
        """Return the process ids of the running workers; empty until one was needed."""
        return [pid for pool in (self._pool, *self._functions.values()) for pid in pool.pids()]

    def close(self) -> None:
        """End the workers. What was submitted and is not decided yet is cancelled."""
        for pool in (self._pool, *self._functions.values()):
            pool.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decide(self, reference: str, prediction: str, task: str = "math") -> Verdict | Future[Verdict]:
        """Return the verdict, or the comparison by a worker that will give it."""
        asked = read_task(task, self._table)
        if asked.family is None:
            return self._call(asked, reference, prediction)
        family = asked.family
        if self.options.backend == "math_verify" and asked.name in ("math", "number"):
            return self._library(reference, prediction)
        has_numbers = asked.name in ("math", "number")
        is_number = has_numbers and asked.tolerance is None
        is_plain = has_numbers and _PLAIN_NUMBER.fullmatch(prediction) is not None
        if is_plain and is_number and _both_integers(reference, prediction):
            return _verdict(int(prediction) == int(reference), prediction, "exact numbers")
        reference, reason = self._reference(asked.name, reference)
        if reason:
            return Verdict(VerdictKind.INCORRECT, None, f"reference refused: {reason}")
        if is_plain and (compared := family.compare(reference, prediction, self.options, asked.tolerance)):
            return _verdict(compared.equal, prediction, f"bare answer; {compared.reason}")
        if reason := refuse_text(prediction, self.options):
            return Verdict(VerdictKind.INCORRECT, None, f"prediction refused: {reason}")
        prediction = graded_part(prediction)
        extraction = family.extract(prediction, self.options)
        answer = (extraction.answer or "").strip()
        if (
            extraction.found == "boxed"
            and "," in reference
            and asked.name in _WITH_LISTS
            and not _known(reference)[1]
        ):
            answer = one_box_each(prediction, len(split_parts(reference))) or answer
        if is_number and _are_digits(reference, answer, min(18, self.options.max_answer_chars)):
            return _verdict(int(answer) == int(reference), answer, f"{extraction.found}; exact numbers")
        if _NOTHING.fullmatch(answer):
            return self._quoted(reference, prediction) or Verdict(
                VerdictKind.NO_ANSWER, None, "no answer found"
            )
        if reason := refuse_answer(answer, self.options):
            return Verdict(
                VerdictKind.INCORRECT, answer[: self.options.max_answer_chars], f"refused: {reason}"
            )
        compared = family.compare(reference, answer, self.options, asked.tolerance)
        others = len(reference) == len(answer) == 1 and reference != answer  # A for B quotes nothing
        if not ((compared and compared.equal) or others) and (quoted := self._quoted(reference, prediction)):
            return quoted
        if compared is not None:
            return _verdict(compared.equal, answer, f"{extraction.found}; {compared.reason}")
        return self._symbolic(family.symbolic(reference), family.symbolic(answer), asked.tolerance)

    def _read_reference(self, family: str, text: str) -> tuple[str, str | None]:
        """Return the answer in a reference, and why it is refused (None where it is not)."""
        if reason := refuse_text(text, self.options):
            return "", reason
        reference = FAMILIES[family].reference(text)
        return reference, refuse_answer(reference, self.options)

    def _refuse(self, reference: str, prediction: str) -> Verdict | None:
        for name, text in (("reference", reference), ("prediction", prediction)):
            if reason := refuse_text(text, self.options):
                return Verdict(VerdictKind.INCORRECT, None, f"{name} refused: {reason}")
        return None

    def _quoted(self, reference: str, prediction: str) -> Verdict | None:
        """Return correct where the prediction, or all of it after its marker, is the reference word for word.

        Extraction treats `No solution.` as prose, and of `max at $x=2$, min at $x=4$` it takes a part.
        """
        longest = min(self.options.max_answer_chars, 2 * len(reference) + 20)
        whole = [prediction] if len(prediction) <= longest else []
        key, is_number = _known(reference)  # after a mark a number is compared as a number
        for text in (*whole, *(() if is_number else stated_texts(prediction, longest))):
            if text.rstrip().endswith("?") and not reference.endswith("?"):
                continue
            if key and key == text_key(text):
                place = "bare answer" if text is prediction else "after a marker"
                return Verdict(VerdictKind.CORRECT, text.strip(), f"{place}; same text")
        return None

    def _symbolic(self, reference: str, answer: str, tolerance: Tolerance | None) -> Future[Verdict]:
        """Return the comparison by a worker; equal pairs are compared once."""
        key = (reference, answer, tolerance)
        with self._lock:
            known = self._known.get(key)
            if known is not None and not known.cancelled():
                self._known.move_to_end(key)
                return known
            future = self._pool.submit(reference, answer, tolerance)
            self._known[key] = future
            while len(self._known) > self.options.cache_size:
                self._known.popitem(last=False)
        return future

    def _library(self, reference: str, prediction: str) -> Verdict | Future[Verdict]:
        """Return math-verify's own verdict; what the guard refuses is refused here too."""
        if refused := self._refuse(reference, prediction):
            return refused
        for name, text in (("reference", extract_reference(reference)), ("prediction", prediction)):
            checked = text[-self.options.max_answer_chars :] if name == "prediction" else text
            if reason := refuse_answer(checked, self.options):
                return Verdict(VerdictKind.INCORRECT, None, f"{name} refused: {reason}")
        return self._symbolic(extract_reference(reference), prediction, None)

    def _call(self, task: Task, reference: str, prediction: str) -> Verdict | Future[Verdict]:
        """Call the config's function on the pair in a worker; the first call waits for one to start."""
        if refused := self._refuse(reference, prediction):
            return refused
        with self._lock:
            pool = self._functions.get(task.name)
            if pool is None:
                pool = WorkerPool(self.options, function=task.name, functions=self._table)
                pool.check()
                self._functions[task.name] = pool
        return pool.submit(reference, prediction)


_WITH_LISTS = ("math", "list")


@lru_cache(maxsize=_REFERENCES)
def _known(reference: str) -> tuple[str, bool]:
    """Return the key of a reference's text, and whether it is a number (`1,000` is, and is no list)."""
    return text_key(reference), parse_number(clean(reference)) is not None


def _are_digits(reference: str, answer: str, longest: int) -> bool:
    """Return whether both are digits and nothing else, the answer of up to `longest`: most answers are."""
    return (
        len(answer) <= longest and answer.isdigit() and reference.isdigit() and (answer + reference).isascii()
    )


def _both_integers(reference: str, prediction: str) -> bool:
    """Return whether both are plain integers, as most references and many bare answers are."""
    return _INTEGER.fullmatch(prediction) is not None and _INTEGER.fullmatch(reference) is not None


def _verdict(equal: bool, answer: str, reason: str) -> Verdict:
    return Verdict(VerdictKind.CORRECT if equal else VerdictKind.INCORRECT, answer, reason)
