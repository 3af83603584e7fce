"""A judge: another model, behind an OpenAI-compatible endpoint, that rates how hard queries are.

    judge = Judge(JudgeOptions(endpoint="https://HOST/v1", model="some-model", key_variable="SOME_API_KEY"))
    ratings, notes = judge(["What is 2+2?", …])      # float64 [n], NaN where there is no rating

The key is read from the environment when a request is made, and is in nothing else: no message, cache or
option holds it, redirects (which would take it elsewhere) are not followed, and what the endpoint says in an
error is not repeated, as some endpoints repeat the key.
"""

from __future__ import annotations

import contextlib
import email.message
import http.client
import json
import logging
import os
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.options import JudgeOptions

__all__ = ["Judge"]

log = logging.getLogger(__name__)

_MAX_WAIT = 60.0
_MAX_REPLY = 4 << 20


class Judge:
    """Rates queries; see the module's docstring. Holds no connection between calls."""

    def __init__(self, options: JudgeOptions):
        """Raises `UserError` where the endpoint, the model or the key's variable is not set."""
        for name in ("endpoint", "model"):
            if not getattr(options, name):
                raise UserError(f"judge.{name}: must be set for the judge to be asked")
        if options.key_variable and not os.environ.get(options.key_variable):
            raise UserError(
                f"judge.key_variable: the environment variable {options.key_variable} is not set; "
                "put the endpoint's key in it"
            )
        self._options = options
        self._url = options.endpoint.rstrip("/") + "/chat/completions"
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._cache = _Cache(options)

    def __call__(self, questions: Sequence[str]) -> tuple[np.ndarray, Mapping[str, int]]:
        """Ratings float64 [n] in 1..scale, NaN where none could be had, and counts of what went wrong.

        Equal questions are asked once, known ones not at all. The counts: `failed` queries by cause
        (`failed_timeout`, `failed_http_500`, `failed_connection`, `failed_nonsense`), `not_asked` once so
        many failed in a row (`give_up_after`), and the `retried` requests. Never raises for the endpoint's
        sake.
        """
        ratings = {prompt: self._cache.get(prompt) for prompt in map(self._prompt, questions)}
        wanted = [prompt for prompt, rating in ratings.items() if rating is None]
        asking = _Asking(self._options.give_up_after)
        if wanted:
            workers = ThreadPoolExecutor(min(self._options.concurrency, len(wanted)), "judge")
            try:
                for prompt, rating in zip(
                    wanted, workers.map(lambda p: self._ask(p, asking), wanted), strict=True
                ):
                    ratings[prompt] = rating
            finally:
                asking.give_up.set()  # whoever interrupts does not wait for a long queue
                workers.shutdown(wait=True, cancel_futures=True)
        if asking.counts:
            told = ", ".join(f"{name} {count}" for name, count in sorted(asking.counts.items()))
            log.warning("judge: of %d queries asked, %s", len(wanted), told)
        rated = (ratings[self._prompt(question)] for question in questions)
        return (
            np.array([np.nan if rating is None else rating for rating in rated], np.float64),
            dict(sorted(asking.counts.items())),
        )

    def _prompt(self, question: str) -> str:
        return self._options.prompt.replace("{question}", question)

    def _ask(self, prompt: str, asking: _Asking) -> float | None:
        """The rating, after as many attempts as it takes, or None."""
        cause = ""
        for attempt in range(self._options.retries + 1):
            if attempt:
                asking.count("retried")
                if asking.give_up.wait(self._wait(attempt, cause)):
                    break
            if asking.give_up.is_set():
                break
            try:
                rating = self._rating(self._request(prompt))
            except _FailedError as failure:
                cause = failure.cause
                if not failure.again:
                    break
                continue
            asking.succeeded()
            self._cache.put(prompt, rating)
            return rating
        asking.failed(cause)
        return None

    def _wait(self, attempt: int, cause: str) -> float:
        """Seconds before attempt number `attempt`: doubled each time, up to a quarter less at random."""
        if cause == "nonsense":
            return 0.0
        return min(self._options.backoff * 2 ** (attempt - 1), _MAX_WAIT) * random.uniform(0.75, 1.0)

    def _request(self, prompt: str) -> str:
        """What the judge answers. Raises `_FailedError`, whose cause names nothing that the endpoint said."""
        options = self._options
        body = {
            "model": options.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": options.max_tokens,
        }
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        if options.key_variable:
            key = os.environ.get(options.key_variable, "").strip()
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with self._opener.open(request, timeout=options.timeout) as reply:
                data = _read(reply, options.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code in (408, 409, 425, 429) or error.code >= 500
            raise _FailedError(f"http_{error.code}", again) from None
        except TimeoutError:
            raise _FailedError("timeout", True) from None
        except urllib.error.URLError as error:
            slow = isinstance(error.reason, TimeoutError)
            raise _FailedError("timeout" if slow else "connection", True) from None
        except (OSError, http.client.HTTPException, ValueError):
            raise _FailedError("connection", True) from None
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise _FailedError("nonsense", True) from None
        if not isinstance(content, str):
            raise _FailedError("nonsense", True)
        return content

    def _rating(self, answer: str) -> float:
        """The one number in an answer, or the last where it is said to be the rating; in 1..scale."""
        answer = answer.rpartition("</think>")[2][-2_000:]
        answer = re.sub(rf"(?:/|\bout of)\s*{self._options.scale}\b", "", answer)
        said = re.findall(
            r"\b(?:rating|difficulty|score)\b\D{0,20}?(\d{1,3}(?:\.\d+)?)(?![\d.]*\d)", answer, re.I
        )
        numbers = said or re.findall(r"(?<![\w.,-])(\d{1,3}(?:\.\d+)?)(?![\d,]*\w)", answer)
        if not numbers or (not said and len(set(numbers)) > 1):
            raise _FailedError("nonsense", True)
        rating = float(numbers[-1])
        if not 1 <= rating <= self._options.scale:
            raise _FailedError("nonsense", True)
        return rating


class _FailedError(Exception):
    """One request failed: of which cause, and whether it is worth another."""

    def __init__(self, cause: str, again: bool):
        super().__init__(cause)
        self.cause, self.again = cause, again


class _Asking:
    """What the threads of one call share: counts, and whether there is any use in going on."""

    def __init__(self, give_up_after: int):
        self.counts: Counter[str] = Counter()
        self.give_up = threading.Event()
        self._limit = give_up_after
        self._in_a_row = 0
        self._lock = threading.Lock()

    def count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def succeeded(self) -> None:
        with self._lock:
            self._in_a_row = 0

    def failed(self, cause: str) -> None:
        with self._lock:
            self.counts[f"failed_{cause}" if cause else "not_asked"] += 1
            self._in_a_row += 1
            if self._in_a_row >= self._limit:
                self.give_up.set()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: email.message.Message,
        newurl: str,
    ) -> None:
        return None


def _read(reply: Any, seconds: float) -> bytes:
    """The body; a socket's time-out starts anew with each byte, so the whole has a deadline too."""
    deadline = time.monotonic() + seconds
    parts: list[bytes] = []
    size = 0
    while chunk := reply.read1(1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if time.monotonic() > deadline:
            raise TimeoutError
        if size > _MAX_REPLY:
            raise ValueError("the reply is too long")
    return b"".join(parts)


class _Cache:
    """Ratings on disk: one file a model, one JSON line a rating, keyed by a hash of all that was asked.

    Lines are appended whole, so several processes may share it; a torn line is skipped.
    """

    def __init__(self, options: JudgeOptions):
        self._known: dict[str, float] = {}
        self._path: Path | None = None
        self._lock = threading.Lock()
        self._asked = json.dumps([options.model, options.scale, options.max_tokens])
        if not options.cache:
            return
        self._path = (
            Path(options.cache).expanduser() / f"{sha256(self._asked.encode()).hexdigest()[:16]}.jsonl"
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise UserError(f"judge.cache: {options.cache} cannot be used ({error.strerror})") from error
        for line in lines:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                row = json.loads(line)
                rating = float(row["rating"])
                if 1 <= rating <= options.scale:
                    self._known[str(row["key"])] = rating

    def get(self, prompt: str) -> float | None:
        return self._known.get(self._key(prompt))

    def put(self, prompt: str, rating: float) -> None:
        """Remember a rating; where the disk does not take it, for this process only."""
        key = self._key(prompt)
        with self._lock:
            self._known[key] = rating
            if self._path is not None:
                with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
                    file.write(json.dumps({"key": key, "rating": rating}).encode() + b"\n")

    def _key(self, prompt: str) -> str:
        return sha256(f"{self._asked}\n{prompt}".encode("utf-8", "surrogatepass")).hexdigest()
