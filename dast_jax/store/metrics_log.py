"""Numbers over time: `metrics.jsonl` always, TensorBoard and Weights & Biases if configured."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.errors import UserError
from dast_jax.runtime.visible import visible
from dast_jax.store.durable import plain
from dast_jax.store.evaluation_results import SampleRow
from dast_jax.store.settings import LoggingOptions

__all__ = ["SAMPLE_COLUMNS", "MetricsLog", "read_metrics"]

_WHERE = ("round", "step", "set")
"""Keys of a line that say where its numbers belong; the rest are numbers."""


class MetricsLog:
    """Writes lines of numbers; `round`, `step` and `set` in a line say where they belong.

    TensorBoard gets one run per round (`tensorboard/round_01`), so that the same curve of several
    rounds is in one chart; numbers without a step are points over rounds (`tensorboard/rounds`).
    """

    def __init__(self, folder: Path, options: LoggingOptions, config: Mapping[str, Any]):
        self._folder = folder
        self._options = options
        self._boards: dict[str, Any] = {}
        _drop_torn_line(folder / "metrics.jsonl")
        self._file = open(folder / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 (held until `close`)
        self._wandb = _start_wandb(folder, options, config) if options.wandb else None

    def write(self, stage: str, values: Mapping[str, Any]) -> None:
        """Add one line for `stage` ("train", "sample", "evaluation")."""
        line = {"time": round(time.time(), 3), "stage": stage, **plain(values)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
        where = {k: line[k] for k in _WHERE if k in line}
        prefix = "/".join(str(p) for p in (stage, where.get("set")) if p is not None)
        numbers = {
            f"{prefix}/{k}": v
            for k, v in line.items()
            if k not in ("time", "stage", *_WHERE) and isinstance(v, int | float) and not isinstance(v, bool)
        }
        if self._options.tensorboard:
            self._write_board(numbers, where)
        if self._wandb is not None:
            self._wandb.log({**numbers, **{f"{stage}/{k}": v for k, v in where.items() if k != "set"}})

    def write_samples(self, round: int, rows: Sequence[SampleRow]) -> None:
        """Add a table of sample responses for each set to TensorBoard and W&B; `round` is −1 for M_0."""
        by_set: dict[str, list[SampleRow]] = {}
        for row in rows:
            by_set.setdefault(row.set, []).append(row)
        for name, chosen in by_set.items():
            table = [[_sample_cell(row, column) for column in SAMPLE_COLUMNS] for row in chosen]
            if self._options.tensorboard:
                self._board("rounds").add_text(f"samples/{name}", _markdown(table), round)
            if self._wandb is not None:
                import wandb

                shown = wandb.Table(columns=list(SAMPLE_COLUMNS), data=table)
                self._wandb.log({f"samples/{name}": shown, "samples/round": round})

    def close(self) -> None:
        self._file.close()
        for board in self._boards.values():
            board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _write_board(self, numbers: Mapping[str, float], where: Mapping[str, Any]) -> None:
        by_step = "step" in where
        board = self._board(f"round_{where.get('round', 0):02d}" if by_step else "rounds")
        for tag, value in numbers.items():
            board.add_scalar(tag, value, where["step"] if by_step else where.get("round"))

    def _board(self, name: str) -> Any:
        if name not in self._boards:
            self._boards[name] = _open_board(self._folder / "tensorboard" / name)
        return self._boards[name]


SAMPLE_COLUMNS = (
    "id", "level", "question", "reference", "text", "verdict", "extracted", "tokens", "truncated", "runaway",
)  # fmt: skip
"""Of a `SampleRow`, in the tables of TensorBoard and W&B."""


def _sample_cell(row: SampleRow, column: str) -> Any:
    """Return a cell of the table; what a display would obey is escaped."""
    value = getattr(row, column)
    return visible(value, keep="\n") if isinstance(value, str) else value


def _markdown(table: Sequence[Sequence[Any]]) -> str:
    """Return the table as TensorBoard shows it; texts are cut, and are no markup."""
    lines = ["| " + " | ".join(SAMPLE_COLUMNS) + " |", "|---" * len(SAMPLE_COLUMNS) + "|"]
    for row in table:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    return "\n".join(lines)


def _markdown_cell(cell: Any) -> str:
    shown = "" if cell is None else str(cell)
    shown = shown if len(shown) <= _CELL else f"{shown[:_CELL]}… ({len(shown) - _CELL} characters more)"
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", html.escape(shown)).replace("\n", "<br>")


_CELL = 500
"""Characters of a text in TensorBoard's tables; W&B's have all."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`, oldest first; of lines for the same place only the last one.

    A stage that was interrupted and redone writes its lines again.
    """
    if not path.exists():
        return []
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # torn by a kill; the next writer drops it
            continue
        key = (line.get("stage"), *(line.get(k) for k in _WHERE))
        lines.pop(key, None)
        lines[key] = line
    return list(lines.values())


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed writer left after the last line's end."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep:
            start = max(0, keep - 4096)
            file.seek(start)
            end = file.read(keep - start).rfind(b"\n")
            if end >= 0:
                keep = start + end + 1
                break
            keep = start
        if keep != size:
            file.truncate(keep)


def _open_board(folder: Path) -> Any:
    """Return a tensorboardX writer, without importing torch if installed, as that takes seconds."""
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` now raises ImportError
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hide:
            del sys.modules["torch"]
    return SummaryWriter(logdir=str(folder))


def _start_wandb(folder: Path, options: LoggingOptions, config: Mapping[str, Any]) -> Any:
    if importlib.util.find_spec("wandb") is None:
        raise UserError(
            "logging.wandb: the wandb package is not installed; pip install wandb, or set logging.wandb=false"
        )
    import wandb

    # One id per run folder, so that a resumed run continues the same W&B run.
    id_file = folder / "wandb_id.txt"
    if not id_file.exists():
        id_file.write_text(secrets.token_hex(4), encoding="utf-8")
    return wandb.init(
        project=options.wandb_project,
        name=folder.name,
        id=id_file.read_text(encoding="utf-8").strip(),
        resume="allow",
        dir=str(folder),
        config=dict(config),
    )
