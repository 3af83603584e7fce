"""Sampling against a peer: W1, 64 few-shot prompts of 300–700 tokens, 8 trials of each, T 0.8, top-p 0.95.

    python -m benchmarks.sampling --peer PEER [--model embedded|5m] [--pairs 5] [--size N]

The last line printed is one JSON object; `benchmarks/side_by_side.py` says how it is measured.
"""

from __future__ import annotations

from benchmarks.models import model_folder
from benchmarks.side_by_side import compare, parse, result_line
from benchmarks.work import sampling_work

__all__ = ["main"]


def main() -> None:
    """Compare, and print the result."""
    args = parse("sampling", __doc__ or "")
    size = {"prompts": args.size} if args.size else {}
    work = sampling_work(args.model, model_folder(args.model), **size)
    print(result_line("sampling", work, compare(work, args.peer, args), "useful tokens per CPU second", args))


if __name__ == "__main__":
    main()
