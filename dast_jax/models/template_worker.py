"""A process that renders a model's chat template, which may be endless or huge, one conversation per line.

Run as `python -m dast_jax.models.template_worker CPU_SECONDS MEMORY_MB CHARACTERS`. The first line on stdin
is the JSON object of the template and the tokenizer's special tokens, each further line a JSON list of
messages. Writes `{"text": …}` or `{"error": …}` for each on stdout; ends at the end of stdin.

It ends where a template takes more CPU time than allowed (`runtime.limits`).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from dast_jax.runtime.limits import ProcessLimits

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Serve until stdin ends. `argv` holds the limits."""
    from transformers.utils.chat_template_utils import render_jinja_template

    cpu_seconds, memory_mb, characters = map(int, argv)
    replies = os.fdopen(os.dup(1), "w", encoding="ascii", newline="\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is no reply
    limits = ProcessLimits(cpu_seconds=cpu_seconds, memory_mb=memory_mb)
    known = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        try:
            with limits.task():
                texts: Any = render_jinja_template(
                    conversations=[json.loads(line)],
                    chat_template=known["template"],
                    add_generation_prompt=True,
                    **known["special_tokens"],
                )[0]
            if len(texts[0]) > characters:
                reply = {"error": f"its text has more than {characters:,} characters"}
            else:
                reply = {"text": texts[0]}
        except MemoryError:
            reply = {"error": f"it takes more than {memory_mb:,} MB of memory"}
        except Exception as error:  # a template may fail in any way that a program can
            reply = {"error": " ".join(str(error).split())[:200] or type(error).__name__}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
