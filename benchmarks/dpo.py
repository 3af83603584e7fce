"""DPO against a peer: W3, 200 pairs with the pass of the reference policy, AdamW in float32.

    python -m benchmarks.dpo --peer PEER [--model embedded|5m] [--pairs 5] [--size N]

The last line printed is one JSON object; `benchmarks/side_by_side.py` says how it is measured.
"""

from __future__ import annotations

from benchmarks.models import model_folder
from benchmarks.side_by_side import compare, parse, result_line
from benchmarks.work import dpo_work

__all__ = ["main"]


def main() -> None:
    """Compare, and print the result."""
    args = parse("dpo", __doc__ or "")
    size = {"examples": args.size} if args.size else {}
    work = dpo_work(args.model, model_folder(args.model), **size)
    print(result_line("dpo", work, compare(work, args.peer, args), "pairs per CPU second", args))


if __name__ == "__main__":
    main()
