"""Durable policies and training states, by Orbax.

Both are folders of numbered versions, each with an index of its files' digests next to it. A version is
written next to the others, appears under its number when complete, and counts once it has its index; older
ones are removed afterwards. So a save that is killed at any moment leaves the previous version as it was, and
a version that was damaged is noticed when it is read.

A save returns once the arrays are in the host's memory, and is written in the background (`Saving`). There is
one at a time: whoever reads or writes next waits for it, and gets the error that it ended with.

On several processes each writes and reads its own parts of the arrays, where all of them see the folder;
which version, and everything else that concerns the folder, is left to process 0. Where they do not see it,
process 0 alone writes and reads, and the arrays travel (`training.gathered`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from dast_jax.distributed.group import current, decide, leads
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.store import integrity
from dast_jax.training.gathered import gather, spread

__all__ = ["Saving", "TrainCheckpoints", "begin_policy", "load_policy", "open_policy", "save_policy"]

log = logging.getLogger(__name__)

_DISK_FULL = "the disk is full: {} could not be written; free some space and run the same command to resume."


class Saving:
    """A version that is being written in the background, by Orbax, and then its index."""

    def __init__(
        self,
        directory: str | Path,
        step: int,
        tree: Any,
        meta: dict[str, Any],
        then: Callable[[], None] = lambda: None,
    ):
        """Begin; return when `tree` is copied, so that it may be donated. `then` runs when it is written.

        Raises `InterruptedRunError` when the disk is full, as `wait` does.
        """
        self._directory = Path(directory)
        self._step = step
        self._then = then
        self._begun = time.monotonic()
        self.seconds = 0.0
        """How long it took until it was written; 0 before."""
        self._future: Future[None] | None = None
        self._leads = leads()
        apart = _is_apart()
        if apart:
            tree = gather(tree)
        if self._leads or not apart:
            self._start(tree, meta)

    def _start(self, tree: Any, meta: dict[str, Any]) -> None:
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta))
        with contextlib.ExitStack() as opened:
            manager = opened.enter_context(_manager(self._directory, writes=True))
            manager.save(self._step, args=arguments)
            writer = ThreadPoolExecutor(1, "checkpoint")
            self._future = writer.submit(self._complete, manager, opened.pop_all())
            writer.shutdown(wait=False)

    def _complete(self, manager: ocp.CheckpointManager, opened: contextlib.ExitStack) -> None:
        with opened:
            manager.wait_until_finished()
        if self._leads:
            with _disk_full_is_an_interruption(self._directory):
                integrity.seal_folder(self._directory / str(self._step))
                self._then()
        self.seconds = time.monotonic() - self._begun

    @property
    def is_done(self) -> bool:
        """Whether it has ended, in one way or the other."""
        return self._future is None or self._future.done()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._begun

    def wait(self) -> None:
        """Return once it is durable; raise the error that kept it from being so."""
        if self._future is not None:
            self._future.result()


def begin_policy(directory: str | Path, params: Any, *, base: str | None = None) -> Saving:
    """Begin to write `params` (any pytree of arrays) into `directory`, replacing what it held.

    Of adapters, `base` is the digest of the model that they belong to, kept beside them.

    Raises `InterruptedRunError` when the disk is full; what was there before is then still there.
    """

    def next_step() -> int:
        _make(directory)
        _require_space(directory, params)
        return max(_numbers(directory), default=0) + 1

    step = decide(next_step)
    meta = {} if base is None else {"base": base}
    return Saving(directory, step, params, meta, then=lambda: _keep(directory, [step]))


def save_policy(directory: str | Path, params: Any, *, base: str | None = None) -> None:
    """As `begin_policy`; return once it is durable."""
    begin_policy(directory, params, base=base).wait()


def load_policy(directory: str | Path, like: Any, *, base: str | None = None) -> Any:
    """Return what `save_policy` wrote, with the structure, dtypes and shardings of `like`.

    `like` holds arrays or `jax.ShapeDtypeStruct`s; a sharding other than at saving reshards on reading.
    Raises `UserError` when `directory` holds no policy, or a damaged one, or adapters of another model than
    that of the digest `base`.
    """
    version = decide(lambda: _policy_version(directory))
    params, meta = _restore(directory, version, like)
    if base is not None and meta.get("base") != base:
        raise UserError(
            f"{directory}: the adapters belong to another model than the one in model.path; restore its files"
        )
    return params


@contextlib.contextmanager
def open_policy(directory: str | Path, like: Any) -> Iterator[Callable[[tuple[str, ...]], jax.Array]]:
    """Give a function that reads one parameter, by its path, of the state that `save_policy` wrote.

    It comes with the dtype and sharding that it has in `like`, a parameter state of shapes; the others are
    not read. Raises `UserError` as `load_policy`.
    """
    folder = epath.Path(directory).absolute() / str(_policy_version(directory)) / "state"
    shapes = {tuple(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(like)}
    with ocp.PyTreeCheckpointer() as checkpointer:

        def read(path: tuple[str, ...]) -> jax.Array:
            shape = shapes[path]
            item: Any = shape
            how: Any = ocp.ArrayRestoreArgs(sharding=shape.sharding, dtype=shape.dtype)
            for name in reversed((*path, "value")):
                item, how = {name: item}, {name: how}
            args = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
            (array,) = jax.tree.leaves(checkpointer.restore(folder, args=args))
            found: jax.Array = array
            return found

        yield read


def _policy_version(directory: str | Path) -> int:
    """Return the number of the policy's version; raise `UserError` where there is none, or a damaged one."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such policy checkpoint; check the run's folder")
    versions = _versions(directory)
    if not versions:
        raise UserError(f"{directory}: holds no complete policy checkpoint; check the run's folder")
    if problem := integrity.check_folder(version := directory / str(versions[-1])):
        raise UserError(
            f"{version}: damaged ({problem}); restore it from a copy, or run the train command again, which "
            "says what it can repeat"
        )
    return versions[-1]


class TrainCheckpoints:
    """Checkpoints of one training stage in one folder, of which the last two are kept.

    They are written in the background, one at a time. `due()` says whether `seconds` have passed since the
    last save (or since this object was made). After a signal there is time for a save only within
    `grace_seconds`; 0: as long as it takes.
    """

    def __init__(self, directory: str | Path, *, seconds: float = 300.0, grace_seconds: float = 0.0):
        self._directory = Path(directory)
        self._seconds = seconds
        self._last = time.monotonic()
        self._saving: Saving | None = None
        self.grace_seconds = grace_seconds
        self.save_seconds = 0.0
        """What the last save took until it was written; 0 before the first."""

    def due(self) -> bool:
        """Return whether it is time for another save: not while one is written, unless `seconds` is 0."""
        if self._seconds and self._saving is not None and not self._saving.is_done:
            return False
        return time.monotonic() - self._last >= self._seconds

    def expected_seconds(self) -> float:
        """Return how long a save takes that begins now, by the last one; 0 before the first."""
        if self._saving is None or self._saving.is_done:
            return self.save_seconds
        known = max(self.save_seconds, self._saving.elapsed)  # of the one that is waited for first
        return known - self._saving.elapsed + known

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Begin to write `state` (a pytree of arrays) and `meta` (JSON) as version `step`.

        Returns when `state` may be donated, after the save before has ended. A step that was saved before is
        not saved again. Raises `InterruptedRunError` when the disk is full, and what `finish` raises.
        """
        self.finish()

        def prepare() -> bool:
            _make(self._directory)
            versions = _versions(self._directory)
            if step in versions[-1:]:
                return False
            _keep(self._directory, versions[-1:])
            _require_space(self._directory, state)
            return True

        if decide(prepare):
            self._saving = Saving(self._directory, step, state, meta)
        self._last = time.monotonic()

    def check(self) -> None:
        """Raise the error of a save that has failed meanwhile."""
        if self._saving is not None and self._saving.is_done:
            self.finish()

    def finish(self) -> None:
        """Wait until the last save is durable; raise the error that kept it from being so, each time."""
        if self._saving is not None:
            self._saving.wait()
            self.save_seconds = self._saving.seconds or self.save_seconds
            self._saving = None

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """Return the last whole (state, meta), laid out like `like`; None when there is none.

        A damaged one is reported and removed, and the one before it is used.
        """
        self.finish()
        step = decide(self._last_whole)
        return None if step is None else _restore(self._directory, step, like)

    def _last_whole(self) -> int | None:
        versions = _versions(self._directory)
        while versions:
            version = self._directory / str(versions[-1])
            problem = integrity.check_folder(version)
            if problem is None:
                return versions[-1]
            versions = versions[:-1]
            since = f"step {versions[-1]}" if versions else "its start"
            log.warning("%s: damaged (%s); the training continues from %s", version, problem, since)
            _remove(self._directory, int(version.name))
        return None

    def clear(self) -> None:
        """Remove all versions, once the stage's result is stored elsewhere."""
        self.finish()
        if leads():
            _keep(self._directory, [])


_OVERHEAD = 2**18  # bytes: Orbax's own files beside the arrays, and a file system's rounding up to blocks


def _require_space(directory: str | Path, tree: Any) -> None:
    """Raise `InterruptedRunError` unless the disk has space for `tree`.

    Checked before Orbax begins, because its threads print tracebacks when they run into a full disk, or when
    their manager is closed early by an exception.
    """
    folder = Path(directory).absolute()
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < _OVERHEAD + sum(leaf.nbytes for leaf in jax.tree.leaves(tree)):
        raise InterruptedRunError(_DISK_FULL.format(directory))


@contextlib.contextmanager
def _manager(directory: str | Path, *, writes: bool) -> Iterator[ocp.CheckpointManager]:
    """Open a folder that exists: on all processes where they share it, else on process 0 alone."""
    together = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        # Named processes meet at barriers of the coordination service, which may be waited for beside the
        # collectives of a compiled program; the default is a collective.
        active = {0} if _is_apart() else set(range(jax.process_count()))
        together = ocp.options.MultiprocessingOptions(active_processes=active)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None, create=False, cleanup_tmp_directories=writes, multiprocessing_options=together
    )
    with _disk_full_is_an_interruption(directory):
        manager = ocp.CheckpointManager(Path(directory).absolute(), options=options)
        try:
            yield manager
        finally:
            manager.close()


def _is_apart() -> bool:
    """Return whether this is one of several processes that do not share the run's folder."""
    group = current()
    return group is not None and not group.shares_folder


def _make(directory: str | Path) -> None:
    with _disk_full_is_an_interruption(directory):
        Path(directory).mkdir(parents=True, exist_ok=True)


def _versions(directory: str | Path) -> list[int]:
    """Return the numbers of the versions that have an index, in order."""
    return sorted(int(path.stem) for path in Path(directory).glob("*.sha256") if path.stem.isdigit())


def _numbers(directory: str | Path) -> set[int]:
    """Return the numbers of all versions, complete or not."""
    folders = (path.name for path in Path(directory).glob("*") if path.name.isdigit())
    return {*map(int, folders), *_versions(directory)}


def _keep(directory: str | Path, steps: Sequence[int]) -> None:
    """Remove all versions but `steps`, complete or not."""
    with _disk_full_is_an_interruption(directory):
        for step in _numbers(directory) - set(steps):
            _remove(directory, step)


def _remove(directory: str | Path, step: int) -> None:
    version = Path(directory) / str(step)
    integrity.folder_index(version).unlink(missing_ok=True)  # first: without it the version does not count
    if version.is_dir():
        shutil.rmtree(version)
    else:
        version.unlink(missing_ok=True)


def _restore(directory: str | Path, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    if not _is_apart():
        return _read(directory, step, abstract)
    state: Any = None
    meta: dict[str, Any] = {}
    if leads():  # as numpy arrays: those of jax would need devices of process 0 alone
        arrays = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), abstract)
        state, meta = _read(directory, step, arrays)
    return spread(state, abstract), decide(lambda: meta)


def _read(directory: str | Path, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
    with _manager(directory, writes=False) as manager:
        restored = manager.restore(step, args=arguments)
    return restored["state"], restored["meta"]


@contextlib.contextmanager
def _disk_full_is_an_interruption(directory: str | Path) -> Iterator[None]:
    """Raise `InterruptedRunError` where the disk is full, whichever layer noticed; pass on other errors."""
    try:
        yield
    except Exception as error:
        seen: BaseException | None = error
        while seen is not None:
            if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(seen):
                raise InterruptedRunError(_DISK_FULL.format(directory)) from error
            seen = seen.__cause__ or seen.__context__
        raise
