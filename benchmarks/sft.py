"""Supervised fine-tuning against a peer: W2, 1,000 examples with the lengths of GSM8K's, AdamW in float32.

    python -m benchmarks.sft --peer PEER [--model embedded|5m] [--pairs 5] [--size N]

The last line printed is one JSON object; `benchmarks/side_by_side.py` says how it is measured.
"""

from __future__ import annotations

from benchmarks.models import model_folder
from benchmarks.side_by_side import compare, parse, result_line
from benchmarks.work import sft_work

__all__ = ["main"]


def main() -> None:
    """Compare, and print the result."""
    args = parse("sft", __doc__ or "")
    size = {"examples": args.size} if args.size else {}
    work = sft_work(args.model, model_folder(args.model), **size)
    print(result_line("sft", work, compare(work, args.peer, args), "examples per CPU second", args))


if __name__ == "__main__":
    main()
