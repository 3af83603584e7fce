"""`python -m dast_jax.sample --model … --data prompts.jsonl --out out.jsonl`: prompts in, responses out.

Rows with `prompt` (text, or chat messages) or `messages` in, JSONL or Parquet; one row per trial out
(JSONL, or Parquet where `--out` ends so), in the order of the rows: `id` (the row's own, else its number),
`trial`, `text`, `tokens`, `logprob`, `finish_reason`. docs/schemas.md has the details.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dast_jax.cli import Arguments, Flag, ProgressDisplay, command, output_path
from dast_jax.inference.options import SampleOptions
from dast_jax.runtime.visible import visible

__all__ = ["main"]

ARGUMENTS = Arguments(
    "sample",
    "Sample responses to prompts.",
    SampleOptions,
    Flag("--model", key="model.path", help="Hugging Face folder, .gguf file or hub model"),
    Flag("--data", required=True, help="JSONL or Parquet rows with `prompt` (text) or `messages` (chat)"),
    Flag("--out", required=True, help="file to write, JSONL or (by its suffix) Parquet"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Sample, write the responses, print their number. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    from dast_jax.inference.prompt_files import read_prompts, too_long, write_responses
    from dast_jax.inference.sample_prompts import sample_prompts

    out = output_path(args.out)
    prompts = read_prompts(args.data)
    with ProgressDisplay() as progress:
        found = sample_prompts(prompts, options, source=args.data, on_progress=progress)
    write_responses(out, found.responses)
    if found.skipped:
        print(visible(f"warning: {args.data}: {too_long(found.skipped)}"), file=sys.stderr)
    speed = found.new_tokens / max(found.seconds, 1e-9)
    print(f"{out}: {len(found.responses)} responses, {found.new_tokens} new tokens, {speed:.0f} tokens/s")


if __name__ == "__main__":
    sys.exit(main())
