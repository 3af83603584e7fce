"""Chat templates of models, rendered in a separate process with limits.

    template = ChatTemplate(text, special_tokens)
    template.render([{"role": "user", "content": "1+1=?"}])

A template is a program that comes with a model. The sandbox in which it runs (jinja2's, by way of
transformers) keeps it from the rest of the program, and the process keeps it from running forever and from
filling the memory, on any thread of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.assets import refuse_remote
from dast_jax.errors import UserError
from dast_jax.runtime.limits import ended_by_overtime

__all__ = ["ChatTemplate", "TemplateFailedError", "read_template"]

_CPU_SECONDS = 2
"""For one conversation. An ordinary template takes less than a millisecond."""

_MEMORY_MB = 1024
_CHARACTERS = 1_000_000
_BACKSTOP = 60.0
"""Seconds of wall time after which a process that neither works nor answers is ended."""

_KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONPATH",
)


def read_template(name: str) -> str:
    """Return the text of the template in the file `name`; raise `UserError` where there is none."""
    refuse_remote(name, "model.chat_template must be a local file")
    try:
        content = Path(name).expanduser().read_bytes()
        found = content[:_CHARACTERS].decode("utf-8")
    except OSError as error:
        raise UserError(f"model.chat_template: {name} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"model.chat_template: {name} is not UTF-8 text (byte {error.start})") from None
    if len(content) > _CHARACTERS or not found.strip():
        size = "is empty" if not found.strip() else f"has more than {_CHARACTERS:,} bytes"
        raise UserError(f"model.chat_template: {name} {size}; name a file with a Jinja template")
    return found


class TemplateFailedError(Exception):
    """The template cannot be rendered; the message says why in part of a sentence."""


class ChatTemplate:
    """A template and the process that renders it, started when first needed and ended with this object.

    Conversations may come from several threads; they are rendered one after the other.
    """

    def __init__(self, template: str, special_tokens: Mapping[str, Any]):
        self._known = json.dumps({"template": template, "special_tokens": dict(special_tokens)}, default=str)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the text up to where the assistant speaks next; raise `TemplateFailedError`."""
        with self._lock:
            if self._process is None:
                self._process = _start()
                self._end = weakref.finalize(self, _stop, self._process)
                line = self._ask(self._process, f"{self._known}\n{json.dumps(list(messages))}\n")
            else:
                line = self._ask(self._process, f"{json.dumps(list(messages))}\n")
            if not line:
                raise TemplateFailedError(self._why_ended())
        reply: dict[str, str] = json.loads(line)
        if "error" in reply:
            raise TemplateFailedError(reply["error"])
        return reply["text"]

    def _ask(self, process: subprocess.Popen[str], request: str) -> str:
        """Return the reply to `request`, empty where the process ended instead."""
        assert process.stdin is not None
        assert process.stdout is not None
        backstop = threading.Timer(_BACKSTOP, process.kill)
        backstop.daemon = True
        backstop.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request)
                process.stdin.flush()
            line = process.stdout.readline()
            return line if line.endswith("\n") else ""
        finally:
            backstop.cancel()

    def _why_ended(self) -> str:
        """Forget the process that has ended, and return why in part of a sentence."""
        assert self._process is not None
        assert self._end is not None
        code = self._process.wait()
        self._end()
        self._process = self._end = None
        if ended_by_overtime(code):
            return f"it takes more than {_CPU_SECONDS} seconds of CPU time"
        if code == -getattr(signal, "SIGKILL", 0):
            return f"it took more than {_BACKSTOP:.0f} seconds, or all memory"
        return f"its process ended with code {code}"


def _start() -> subprocess.Popen[str]:
    limits = map(str, (_CPU_SECONDS, _MEMORY_MB, _CHARACTERS))
    return subprocess.Popen(
        [sys.executable, "-m", "dast_jax.models.template_worker", *limits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        encoding="ascii",
        start_new_session=True,  # Ctrl-C is for us; the process ends with its stdin
    )


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


def _environment() -> dict[str, str]:
    """Return the environment that the process needs: no tokens, and this package on its path."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(p for p in (root, kept.get("PYTHONPATH", "")) if p)
    return kept | {
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
