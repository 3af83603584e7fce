"""A client for another model behind an OpenAI-compatible endpoint, asked one question for each of many texts.

    endpoint = Endpoint(options, parse, name="judge")
    answers, counts = endpoint(["What is 2+2?", …])      # what `parse` reads in each reply, or None

The key is read from the environment when a request is made, and is stored nowhere: no message, cache or
option contains it, redirects (which would send it elsewhere) are not followed, and the endpoint's error texts
are not repeated, as some endpoints include the key in them. Used by `llm.judge` and `llm.tagger`.
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
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Generic, TypeVar
from urllib.parse import urlsplit

from dast_jax.errors import UserError
from dast_jax.llm.deadline import Deadline
from dast_jax.options import opt
from dast_jax.runtime import interruption
from dast_jax.runtime.progress import OnProgress, progress_of, silent

__all__ = ["Endpoint", "EndpointOptions", "NonsenseError"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_WAIT = 60.0
_MAX_REPLY = 4 << 20


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """The address of a model and how it is asked; everything here is [ours]."""

    endpoint: str = opt(
        "",
        "base URL of the service, to which /chat/completions is appended: https://HOST/v1",
        changes_result=False,
    )
    model: str = opt("", "name of the model at that endpoint")
    key_variable: str = opt(
        "",
        "NAME of the environment variable that holds the key (never the key itself); empty sends none",
        changes_result=False,
    )
    prompt: str = opt("{question}", "prompt for the model; {question} is replaced by the query")
    max_tokens: int = opt(64, "maximum tokens of a reply", min=1)
    retries: int = opt(
        4,
        "retries after a failed attempt; each waits twice as long as the one before",
        min=0,
        changes_result=False,
    )
    backoff: float = opt(1.0, "seconds before the first retry", min=0, changes_result=False)
    timeout: float = opt(60.0, "timeout of one request, in seconds", min=0.01, changes_result=False)
    concurrency: int = opt(8, "concurrent requests", min=1, max=256, changes_result=False)
    give_up_after: int = opt(
        16, "stop asking after this many consecutive failed queries", min=1, changes_result=False
    )
    cache: str = opt(
        "~/.cache/dast_jax/endpoint",
        "folder in which replies are cached, so that no query is paid for twice; empty for no cache",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        if self.prompt.count("{question}") != 1:
            raise ValueError("prompt: must contain {question} exactly once")
        if self.key_variable and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", self.key_variable):
            raise ValueError("key_variable: must be the NAME of an environment variable, in capital letters")
        if not self.endpoint:
            return
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("endpoint: must be a URL like https://HOST/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "endpoint: must contain no user, password or query, as it is written to the run's config; "
                "put the key in an environment variable and its name in key_variable"
            )


class NonsenseError(ValueError):
    """Raised by `parse` for a reply without an answer; such a query is asked again."""


class Endpoint(Generic[T]):
    """Asks a model about texts; see the module's docstring. Holds no connection between calls.

    `parse` reads the answer in the text of a reply (what follows a reasoning model's `</think>`), or raises
    `NonsenseError`. `name` is the section of the options in messages.
    """

    def __init__(self, options: EndpointOptions, parse: Callable[[str], T], *, name: str):
        """Raise `UserError` where the endpoint, the model or the key's variable is not set."""
        for key in ("endpoint", "model"):
            if not getattr(options, key):
                raise UserError(f"{name}.{key}: must be set for the endpoint to be asked")
        if options.key_variable and not os.environ.get(options.key_variable):
            raise UserError(
                f"{name}.key_variable: the environment variable {options.key_variable} is not set; "
                "put the endpoint's key in it"
            )
        self._options = options
        self._parse = parse
        self._name = name
        self._url = options.endpoint.rstrip("/") + "/chat/completions"
        self._cache = _Cache(options, name)

    def __call__(
        self, questions: Sequence[str], *, on_progress: OnProgress = silent
    ) -> tuple[list[T | None], Mapping[str, int]]:
        """Return the answer for each question, None where there is none, and counts of the failures.

        Equal questions are asked once, known ones not at all. The counts: `failed` queries by cause
        (`failed_timeout`, `failed_http_500`, `failed_connection`, `failed_nonsense`), `not_asked` after
        `give_up_after` failures in a row, and the `retried` requests. An endpoint that fails raises nothing.
        """
        prompts = [self._options.prompt.replace("{question}", question) for question in questions]
        answers = {prompt: self._kept(prompt) for prompt in prompts}
        wanted = [prompt for prompt, answer in answers.items() if answer is None]
        asking = _Asking(self._options.give_up_after)
        if wanted:
            workers = ThreadPoolExecutor(min(self._options.concurrency, len(wanted)), self._name)
            try:
                with progress_of(on_progress, f"{self._name}: asking", total=len(wanted)) as update:
                    found = workers.map(lambda prompt: self._ask(prompt, asking), wanted)
                    for done, (prompt, answer) in enumerate(zip(wanted, found, strict=True), start=1):
                        answers[prompt] = answer
                        update(done)
                        interruption.check()
            finally:
                asking.give_up.set()  # an interruption does not wait for a long queue
                workers.shutdown(wait=True, cancel_futures=True)
        counts = dict(sorted(asking.counts.items()))
        if counts:
            shown = ", ".join(f"{name} {count}" for name, count in counts.items())
            log.warning("%s: of %d queries asked, %s", self._name, len(wanted), shown)
        return [answers[prompt] for prompt in prompts], counts

    def _kept(self, prompt: str) -> T | None:
        """Return the answer of an earlier call, if it was cached."""
        reply = self._cache.get(prompt)
        if reply is None:
            return None
        try:
            return self._parse(reply)
        except NonsenseError:  # another program's file, or options that read the reply otherwise
            return None

    def _ask(self, prompt: str, asking: _Asking) -> T | None:
        """Return the answer, after retries if needed, or None."""
        cause = ""
        for attempt in range(self._options.retries + 1):
            if attempt:
                asking.count("retried")
                if asking.give_up.wait(self._wait(attempt, cause)):
                    break
            if asking.give_up.is_set():
                break
            try:
                reply = self._request(prompt)
                answer = self._parse(reply)
            except NonsenseError:
                cause = "nonsense"
                continue
            except _FailedError as failure:
                cause = failure.cause
                if not failure.again:
                    break
                continue
            asking.succeeded()
            self._cache.put(prompt, reply)
            return answer
        asking.failed(cause)
        return None

    def _wait(self, attempt: int, cause: str) -> float:
        """Return the seconds to wait before attempt `attempt`: doubled each time, up to a quarter less."""
        if cause == "nonsense":
            return 0.0
        return min(self._options.backoff * 2.0 ** (attempt - 1), _MAX_WAIT) * random.uniform(0.75, 1.0)

    def _request(self, prompt: str) -> str:
        """Return the model's reply. Raises `_FailedError`, which contains no text from the endpoint."""
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
        with Deadline(options.timeout) as deadline:
            opener = urllib.request.build_opener(_NoRedirect, *deadline.handlers())
            try:
                with opener.open(request, timeout=options.timeout) as reply:
                    data = _read(reply)
            except urllib.error.HTTPError as error:
                error.close()
                again = error.code in (408, 409, 425, 429) or error.code >= 500
                raise _FailedError(f"http_{error.code}", again) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = getattr(error, "reason", error)  # of a URLError
                slow = deadline.passed or isinstance(reason, TimeoutError)
                raise _FailedError("timeout" if slow else "connection", True) from None
        if deadline.passed:  # a connection that was cut may look like a reply that has ended
            raise _FailedError("timeout", True)
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise _FailedError("nonsense", True) from None
        if not isinstance(content, str):
            raise _FailedError("nonsense", True)
        return content.rpartition("</think>")[2][-2_000:]


class _FailedError(Exception):
    """One request failed: its cause, and whether to try `again`."""

    def __init__(self, cause: str, again: bool):
        super().__init__(cause)
        self.cause, self.again = cause, again


class _Asking:
    """Shared by the threads of one call: counts, and whether to give up."""

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


def _read(reply: Any) -> bytes:
    """Return the body; raise `ValueError` where it is too long."""
    parts: list[bytes] = []
    size = 0
    while chunk := reply.read1(1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if size > _MAX_REPLY:
            raise ValueError("the reply is too long")
    return b"".join(parts)


class _Cache:
    """Replies on disk: one file per model, one JSON line per reply, keyed by a hash of the request.

    Lines are appended whole, so several processes may share it; a torn line is skipped.
    """

    def __init__(self, options: EndpointOptions, name: str):
        self._known: dict[str, str] = {}
        self._path: Path | None = None
        self._lock = threading.Lock()
        self._asked = json.dumps([options.model, options.max_tokens])
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
            raise UserError(f"{name}.cache: {options.cache} cannot be used ({error.strerror})") from error
        for line in lines:
            with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                row = json.loads(line)
                self._known[str(row["key"])] = str(row["reply"])

    def get(self, prompt: str) -> str | None:
        """Return the cached reply to `prompt`, if any."""
        return self._known.get(self._key(prompt))

    def put(self, prompt: str, reply: str) -> None:
        """Cache a reply; if it cannot be written, for this process only."""
        key = self._key(prompt)
        with self._lock:
            self._known[key] = reply
            if self._path is not None:
                with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
                    file.write(json.dumps({"key": key, "reply": reply}).encode() + b"\n")

    def _key(self, prompt: str) -> str:
        return sha256(f"{self._asked}\n{prompt}".encode("utf-8", "surrogatepass")).hexdigest()
