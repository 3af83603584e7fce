"""A short window of a run under the JAX profiler."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ProfileWindow"]

_FIRST, _LAST = 3, 8


class ProfileWindow:
    """Traces steps 3 to 8 of each kind of work, once: past compilation, and small enough to open.

    The traces are in `directory`/KIND; TensorBoard's profile plugin and Perfetto read them.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._steps: dict[str, int] = {}
        self._open: str | None = None

    def step(self, kind: str) -> None:
        """Count one step of `kind` ("sample", "train"); starts and stops the trace at the window's ends."""
        import jax

        count = self._steps[kind] = self._steps.get(kind, 0) + 1
        if count == _FIRST and self._open is None:
            jax.profiler.start_trace(str(self._directory / kind))
            self._open = kind
        elif self._open and (count == _LAST or self._open != kind):
            self.close()

    def close(self) -> None:
        """Stop the trace if one is running (a stage may end inside the window)."""
        import jax

        if self._open:
            jax.profiler.stop_trace()
            self._open = None
