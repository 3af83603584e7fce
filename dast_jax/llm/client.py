"""A client for another model behind an OpenAI-compatible endpoint, asked one question for each of many texts.

    endpoint = Endpoint(options, parse, name="judge")
    answers, counts = endpoint(["What is 2+2?", …])      # what `parse` reads in each reply, or None

The key is read from the environment when a request is made, and is stored nowhere: no message, cache or
option contains it, redirects (which would send it elsewhere) are not followed, and the endpoint's error texts
are not repeated, as some endpoints include the key in them. Used by `llm.judge` and `llm.tagger`.

Requests go through httpx2 (httpx as its maintainers continue it, which the hub's client brings along), in an
event loop of a thread of its own, since a notebook's thread has one already. A timeout of httpx restarts with
each byte that arrives, so each request has one deadline for everything instead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit

from dast_jax.errors import UserError
from dast_jax.options import opt
from dast_jax.runtime import interruption
from dast_jax.runtime.progress import OnProgress, progress_of, silent

if TYPE_CHECKING:  # imported where an endpoint is asked: every command reads these options
    import httpx2
    import tenacity

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
        Raises `UserError` where the environment names a proxy that cannot be used.
        """
        prompts = [self._options.prompt.replace("{question}", question) for question in questions]
        answers = {prompt: self._kept(prompt) for prompt in prompts}
        wanted = [prompt for prompt, answer in answers.items() if answer is None]
        counts: Mapping[str, int] = {}
        if wanted:
            found, counts = self._ask_all(wanted, on_progress)
            answers |= found
        if counts:
            shown = ", ".join(f"{name} {count}" for name, count in counts.items())
            log.warning("%s: of %d queries asked, %s", self._name, len(wanted), shown)
        return [answers[prompt] for prompt in prompts], counts

    def _ask_all(
        self, prompts: Sequence[str], on_progress: OnProgress
    ) -> tuple[dict[str, T | None], Mapping[str, int]]:
        """Return the answer to each of some different prompts, and the counts."""
        from anyio.from_thread import start_blocking_portal

        answers: dict[str, T | None] = {}
        with (
            start_blocking_portal(name=self._name) as portal,
            progress_of(on_progress, f"{self._name}: asking", total=len(prompts)) as update,
        ):
            asking = portal.call(_Asking, self._options, self._name)
            tasks = [portal.start_task_soon(self._ask, prompt, asking) for prompt in prompts]
            try:
                for done, (prompt, task) in enumerate(zip(prompts, tasks, strict=True), start=1):
                    answers[prompt] = task.result()
                    update(done)
                    interruption.check()
            finally:
                for task in tasks:
                    task.cancel()  # an interruption does not wait for a long queue
                portal.call(asking.client.aclose)
        return answers, dict(sorted(asking.counts.items()))

    def _kept(self, prompt: str) -> T | None:
        """Return the answer of an earlier call, if it was cached."""
        reply = self._cache.get(prompt)
        if reply is None:
            return None
        try:
            return self._parse(reply)
        except NonsenseError:  # another program's file, or options that read the reply otherwise
            return None

    async def _ask(self, prompt: str, asking: _Asking) -> T | None:
        """Return the answer, after retries if needed, or None."""
        cause = ""

        async def attempt() -> tuple[str, T]:
            nonlocal cause
            if asking.give_up.is_set():
                raise _FailedError(cause, False)
            try:
                return await self._request(prompt, asking.client)
            except _FailedError as failure:
                cause = failure.cause
                raise

        async with asking.slots:
            try:
                found: tuple[str, T] = await asking.retrying()(attempt)
            except _FailedError:
                asking.failed(cause)
                return None
        reply, answer = found
        asking.succeeded()
        self._cache.put(prompt, reply)
        return answer

    async def _request(self, prompt: str, client: httpx2.AsyncClient) -> tuple[str, T]:
        """Return the model's reply and what was read in it.

        Raises `_FailedError`, which contains no text from the endpoint.
        """
        import anyio
        import httpx2

        body = {
            "model": self._options.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self._options.max_tokens,
        }
        headers = {"Accept-Encoding": "identity"}  # what is compressed may be far larger than it looks
        if self._options.key_variable:
            key = os.environ.get(self._options.key_variable, "").strip()
            headers["Authorization"] = f"Bearer {key}"
        try:
            with anyio.fail_after(self._options.timeout):
                async with client.stream("POST", self._url, json=body, headers=headers) as response:
                    if not response.is_success:
                        again = response.status_code in (408, 409, 425, 429) or response.is_server_error
                        raise _FailedError(f"http_{response.status_code}", again)
                    data = await _read(response)
        except TimeoutError:
            raise _FailedError("timeout", True) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
            raise _FailedError("connection", True) from None
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise _FailedError("nonsense", True) from None
        if not isinstance(content, str):
            raise _FailedError("nonsense", True)
        reply = content.rpartition("</think>")[2][-2_000:]
        try:
            return reply, self._parse(reply)
        except NonsenseError:
            raise _FailedError("nonsense", True) from None


class _FailedError(Exception):
    """One request failed: its cause, and whether to try `again`."""

    def __init__(self, cause: str, again: bool):
        super().__init__(cause)
        self.cause, self.again = cause, again


class _Asking:
    """Shared by the tasks of one call: the client, counts, and whether to give up."""

    def __init__(self, options: EndpointOptions, name: str):
        import anyio
        import httpx2

        try:
            self.client = httpx2.AsyncClient(timeout=None, limits=httpx2.Limits(max_connections=None))
        except (ImportError, ValueError, httpx2.InvalidURL):
            raise UserError(
                f"{name}: the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used; name one whose "
                "address begins with http:// or https:// (or socks5://, with the package socksio)"
            ) from None
        self.counts: Counter[str] = Counter()
        self.give_up = anyio.Event()
        self.slots = anyio.Semaphore(options.concurrency)
        self._options = options
        self._in_a_row = 0

    def retrying(self) -> tenacity.AsyncRetrying:
        """Return what runs one query's attempts: a reply without an answer is asked for again at once."""
        import tenacity

        longer = tenacity.wait_exponential_jitter(
            multiplier=self._options.backoff, max=_MAX_WAIT, jitter=self._options.backoff / 4
        )

        def failure(state: tenacity.RetryCallState) -> BaseException | None:
            return state.outcome.exception() if state.outcome else None

        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _FailedError) and error.again),
            stop=tenacity.stop_after_attempt(self._options.retries + 1),
            wait=lambda state: 0.0 if getattr(failure(state), "cause", "") == "nonsense" else longer(state),
            before_sleep=lambda _: self.counts.update(["retried"]),
            sleep=self._sleep,
            reraise=True,
        )

    async def _sleep(self, seconds: float) -> None:
        """Return after `seconds`, or when it is time to give up."""
        import anyio

        with anyio.move_on_after(seconds):
            await self.give_up.wait()

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, cause: str) -> None:
        self.counts[f"failed_{cause}" if cause else "not_asked"] += 1
        self._in_a_row += 1
        if self._in_a_row >= self._options.give_up_after:
            self.give_up.set()


async def _read(response: httpx2.Response) -> bytes:
    """Return the body; raise `ValueError` where it is too long."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > _MAX_REPLY:
            raise ValueError("the reply is too long")
    return bytes(data)


class _Cache:
    """Replies on disk: one file per model, one JSON line per reply, keyed by a hash of the request.

    Lines are appended whole, so several processes may share it; a torn line is skipped.
    """

    def __init__(self, options: EndpointOptions, name: str):
        self._known: dict[str, str] = {}
        self._path: Path | None = None
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
        self._known[key] = reply
        if self._path is not None:
            with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
                file.write(json.dumps({"key": key, "reply": reply}).encode() + b"\n")

    def _key(self, prompt: str) -> str:
        return sha256(f"{self._asked}\n{prompt}".encode("utf-8", "surrogatepass")).hexdigest()
