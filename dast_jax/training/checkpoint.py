"""Durable policies and training states, by Orbax.

Both are folders of numbered versions, each with an index of its files' digests next to it. A version is
written next to the others, appears under its number when complete, and counts once it has its index; older
ones are removed afterwards. So a save that is killed at any moment leaves the previous version as it was, and
a version that was damaged is noticed when it is read.

On several processes each writes and reads its own parts of the arrays, in a folder that all of them see;
which version, and everything else that concerns the folder, is left to process 0.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from dast_jax.distributed.group import decide, leads
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.store import integrity

__all__ = ["TrainCheckpoints", "load_policy", "open_policy", "save_policy"]

log = logging.getLogger(__name__)

_DISK_FULL = "the disk is full: {} could not be written; free some space and run the same command to resume."


def save_policy(directory: str | Path, params: Any, *, base: str | None = None) -> None:
    """Write `params` (any pytree of arrays) into `directory`, replacing what it held.

    Of adapters, `base` is the digest of the model that they belong to, kept beside them.

    Raises `InterruptedRunError` when the disk is full; what was there before is then still there.
    """

    def next_step() -> int:
        _require_space(directory, params)
        return max(_numbers(directory), default=0) + 1

    step = decide(next_step)
    with _manager(directory) as manager:
        _save(manager, step, params, {} if base is None else {"base": base})
    if leads():
        _keep(directory, [step])


def load_policy(directory: str | Path, like: Any, *, base: str | None = None) -> Any:
    """Return what `save_policy` wrote, with the structure, dtypes and shardings of `like`.

    `like` holds arrays or `jax.ShapeDtypeStruct`s; a sharding other than at saving reshards on reading.
    Raises `UserError` when `directory` holds no policy, or a damaged one, or adapters of another model than
    that of the digest `base`.
    """
    version = decide(lambda: _policy_version(directory))
    with _manager(directory) as manager:
        params, meta = _restore(manager, version, like)
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

    `due()` says whether `seconds` have passed since the last save (or since this object was made). After a
    signal there is time for a save only within `grace_seconds`; 0: as long as it takes.
    """

    def __init__(self, directory: str | Path, *, seconds: float = 300.0, grace_seconds: float = 0.0):
        self._directory = Path(directory)
        self._seconds = seconds
        self._last = time.monotonic()
        self.grace_seconds = grace_seconds
        self.save_seconds = 0.0
        """What the last save took; 0 before the first."""

    def due(self) -> bool:
        """Return whether it is time for another checkpoint."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Write `state` (a pytree of arrays) and `meta` (JSON) as version `step`, and return once durable.

        A step that was saved before is not saved again. Raises `InterruptedRunError` when the disk is full.
        """

        def prepare() -> bool:
            versions = _versions(self._directory)
            if step in versions[-1:]:
                return False
            _keep(self._directory, versions[-1:])
            _require_space(self._directory, state)
            return True

        begun = time.monotonic()
        if decide(prepare):
            with _manager(self._directory) as manager:
                _save(manager, step, state, meta)
            self.save_seconds = time.monotonic() - begun
        self._last = time.monotonic()

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """Return the last whole (state, meta), laid out like `like`; None when there is none.

        A damaged one is reported and removed, and the one before it is used.
        """
        step = decide(self._last_whole)
        if step is None:
            return None
        with _manager(self._directory) as manager:
            return _restore(manager, step, like)

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
def _manager(directory: str | Path) -> Iterator[ocp.CheckpointManager]:
    # Synchronous: the steps that follow donate the arrays that are being written.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    with _disk_full_is_an_interruption(directory):
        manager = ocp.CheckpointManager(Path(directory).absolute(), options=options)
        try:
            yield manager
        finally:
            manager.close()


def _save(manager: ocp.CheckpointManager, step: int, tree: Any, meta: dict[str, Any]) -> None:
    arguments = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta))
    manager.save(step, args=arguments)
    manager.wait_until_finished()
    if leads():
        integrity.seal_folder(Path(manager.directory) / str(step))


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


def _restore(manager: ocp.CheckpointManager, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    restored = manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
    )
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
