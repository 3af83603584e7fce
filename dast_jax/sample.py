"""`python -m dast_jax.sample --model … --data prompts.jsonl --out out.jsonl`: prompts in, responses out.

Rows with `prompt` (text, or chat messages) or `messages` in, JSONL or Parquet; one row per trial out
(JSONL, or Parquet where `--out` ends so), in the order of the rows: `id` (the row's own, else its number),
`trial`, `text`, `tokens`, `logprob`, `finish_reason`. docs/schemas.md has the details.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.errors import UserError
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.records import Rollout, StageKey
from dast_jax.sampling.options import SamplingOptions

if TYPE_CHECKING:
    from dast_jax.models.tokenizer import Tokenizer

__all__ = ["Prompt", "SampleOptions", "main", "read_prompts", "sample_prompts"]

_SHOWN_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Keys of the face; `--model` sets model.path."""

    model: ModelOptions
    mesh: MeshOptions
    sampling: SamplingOptions
    seed: int = opt(0, "seed of the sampling noise", min=0)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row of the input: its id, its row number, and the text or the chat messages to go on from."""

    id: Any
    row: int
    content: str | list[dict[str, str]]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse, sample, write and report. Returns the exit code."""
    args, options = parse_arguments(
        "sample",
        "Sample responses to prompts.",
        SampleOptions,
        argv,
        Flag("--model", key="model.path", help="Hugging Face folder or .gguf file"),
        Flag("--data", required=True, help="JSONL or Parquet rows with `prompt` (text) or `messages` (chat)"),
        Flag("--out", required=True, help="file to write, JSONL or (by its suffix) Parquet"),
    )
    out = output_path(args.out)
    prompts = read_prompts(args.data)
    rows, skipped, tokens, seconds = sample_prompts(prompts, options, where=args.data)
    _write(out, rows)
    if skipped:
        print(f"warning: {args.data}: {_too_long(skipped)}", file=sys.stderr)
    print(f"{out}: {len(rows)} responses, {tokens} new tokens, {tokens / max(seconds, 1e-9):.0f} tokens/s")


def sample_prompts(
    prompts: Sequence[Prompt], options: SampleOptions, *, where: str = "prompts"
) -> tuple[list[dict[str, Any]], list[Prompt], int, float]:
    """Sample `options.sampling.trials` responses to every prompt that fits.

    Returns (rows to write, prompts skipped because they are too long, new tokens, seconds of sampling). A
    row's noise follows from its place among all prompts, so skipped ones do not change the others'
    responses. Raises `UserError` for a model that cannot be used, for chat messages without a chat
    template, and where none fits.
    """
    from dast_jax.assets import resolve_path
    from dast_jax.cli.progress_display import ProgressDisplay
    from dast_jax.models.load import load_model
    from dast_jax.models.sharding import make_mesh
    from dast_jax.runtime.progress import progress_of
    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.scheduler import StaticRequests, sample

    model = options.model
    mesh = make_mesh(options.mesh)
    loaded = load_model(
        resolve_path(model.path), dtype=model.dtype, compute_dtype=model.compute_dtype, mesh=mesh
    )
    engine = Engine(
        loaded.graphdef, loaded.params, tokenizer=loaded.tokenizer, options=options.sampling, mesh=mesh
    )
    encoded = [_encode(prompt, loaded.tokenizer, where) for prompt in prompts]
    fits = [0 < len(tokens) <= engine.max_prompt_length for tokens in encoded]
    skipped = [prompt for prompt, fit in zip(prompts, fits, strict=True) if not fit]
    kept = [i for i, fit in enumerate(fits) if fit]
    if not kept:
        raise UserError(f"{where}: no prompt is left; {_too_long(skipped)}")
    trials = options.sampling.trials
    source = StaticRequests([encoded[i] for i in kept], trials=trials, queries=kept)
    with progress_of(ProgressDisplay(), "sampling", total=len(kept) * trials) as update:
        stats = sample(
            engine, source, key=StageKey(options.seed, 0), progress=lambda stats: update(stats.trials)
        )
    rows = [
        _row(prompts[i], rollout)
        for i, rollouts in zip(kept, source.rollouts, strict=True)
        for rollout in rollouts
    ]
    return rows, skipped, stats.generated_tokens, stats.seconds


def read_prompts(source: str) -> list[Prompt]:
    """The rows of `source`. Raises `UserError` naming the file, and the rows without a usable prompt."""
    from dast_jax.data.sources import read_rows

    rows = read_rows(source).rows
    if not rows:
        raise UserError(f"{source}: is empty; it should hold rows with prompt or messages")
    prompts, lacking = [], []
    for number, row in rows:
        content = _content(row)
        if content is None:
            lacking.append(number)
        else:
            prompts.append(Prompt(row["id"] if row.get("id") is not None else number, number, content))
    if lacking:
        raise UserError(
            f"{source}: {_rows(lacking)} no prompt; give text in prompt, or messages with role and content"
        )
    return prompts


def _content(row: Mapping[str, Any]) -> str | list[dict[str, str]] | None:
    """The prompt of a row: text, or messages; None where there is neither."""
    for key in ("prompt", "messages"):
        value = row.get(key)
        if key == "prompt" and isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(map(_is_message, value)):
            return [{"role": m["role"], "content": m["content"]} for m in value]
    return None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("role", "content"))


def _encode(prompt: Prompt, tokenizer: Tokenizer, where: str) -> tuple[int, ...]:
    if isinstance(prompt.content, str):
        bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
        return (*bos, *tokenizer.encode(prompt.content))
    try:
        return tuple(tokenizer.chat(prompt.content))
    except UserError as error:
        raise UserError(f"{where} row {prompt.row}: {error}") from None


def _row(prompt: Prompt, rollout: Rollout) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "trial": rollout.trial,
        "text": rollout.text,
        "tokens": list(rollout.tokens),
        "logprob": rollout.logprob,
        "finish_reason": str(rollout.finish_reason),
    }


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the file whole, or not at all."""
    from dast_jax.store.durable import atomic_write

    with atomic_write(out) as file:
        if out.suffix.lower() == ".parquet":
            import pyarrow
            import pyarrow.parquet

            if len({type(row["id"]) for row in rows}) > 1:  # a column has one type
                rows = [{**row, "id": str(row["id"])} for row in rows]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            file.writelines(_lines(rows))


def _lines(rows: list[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _too_long(skipped: Sequence[Prompt]) -> str:
    """What to say of prompts that were left out."""
    return (
        f"{_rows([p.row for p in skipped])} a prompt longer than the limit and got no response; "
        "raise sampling.prompt_buckets, or shorten them"
    )


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN_ROWS]))
    if len(numbers) == 1:
        return f"row {shown} has"
    more = f" and {len(numbers) - _SHOWN_ROWS:,} more" if len(numbers) > _SHOWN_ROWS else ""
    return f"{len(numbers):,} rows ({shown}{more}) have"


if __name__ == "__main__":
    sys.exit(main())
