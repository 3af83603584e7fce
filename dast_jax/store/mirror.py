"""A copy of the run directory in object storage or another folder, from which a new machine resumes.

The run directory stays local: its locks, fsync and rename are the file system's. While a run works, a thread
copies what has changed to `run.mirror` every few seconds, which costs the run nothing but bandwidth. The
order makes the mirror whole at any moment: the manifest, which says which stages are done, is read first and
written last, and the index of a checkpoint follows its files. Nothing is trusted on the way back: what the
mirror holds is checked like any run directory when it is opened (`store.integrity`).

Addresses are those of Arrow's file systems: `gs://bucket/path`, `s3://bucket/path` or a local path.
Credentials come from the environment, as the clouds' own tools read them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.store import durable
from dast_jax.store.results import Manifest
from dast_jax.store.typed_json import read_result

__all__ = ["Mirror", "check_address", "refresh"]

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_MARKER = "mirror.json"  # written first: says whose the files are while there is no manifest yet
_STATE = ".mirror.json"  # in the run's folder: what was copied
_RESTORED = ".restored"
_SECONDS = 5.0  # between two looks at the folder
_THREADS = 8
_CHUNK = 2**24
_PERMANENT = re.compile(
    r"\b(40[0134])\b|ACCESS_DENIED|NO_SUCH|INVALID|UNAUTHENTICATED|Not ?Found|not exist", re.I
)


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of file systems. pyarrow is imported here, as every command reads this module."""
    import pyarrow as pa

    return OSError, pa.ArrowException


def check_address(address: str) -> None:
    """Raise `UserError` for an address that cannot be a mirror: of no known kind, or with a secret in it."""
    scheme, _, rest = address.partition("://")
    if rest and scheme not in ("gs", "gcs", "s3"):
        raise UserError(f"run.mirror: {scheme}:// is not supported; use gs://, s3:// or a local folder")
    if rest and ":" in rest.partition("@")[0] and "@" in rest.partition("/")[0]:
        raise UserError(
            "run.mirror: the address holds a secret, which would be written to the run's config; "
            "leave it out and set the credentials in the environment"
        )


def refresh(address: str, folder: Path) -> None:
    """Copy what was written into a run's folder after the run, such as its report.

    Raises `InterruptedRunError` where the mirror cannot be reached.
    """
    mirror = Mirror(address, folder)
    mirror.restore()
    with _explained(address, "updated"):
        mirror.update()


class Mirror:
    """Copies a run's folder to an address while the run works. Use `restore`, then `start`, then `stop`."""

    def __init__(self, address: str, folder: Path):
        """Raise `UserError` for an address that is none. Nothing is read yet."""
        check_address(address)
        self._address = address
        self._folder = folder
        with _explained(address, "used"):
            self._system, self._root = _open(address)
        if not self._is_object_store:
            place, own = Path(self._root).resolve(), folder.absolute().resolve()
            if place.is_relative_to(own) or own.is_relative_to(place):
                raise UserError(
                    f"run.mirror: {address} and run.dir lie within each other; name a folder apart from it"
                )
        self._copied: dict[str, tuple[int, int]] = {}
        self._stale: set[str] = set()  # in the mirror, and no longer in the run
        self._marked = False
        self._failing = False
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    # -- restoring -------------------------------------------------------------------------------------

    def restore(self) -> bool:
        """Copy the mirror's run into the folder where the folder has none, or an older state of it.

        Returns whether it did. Raises `UserError` where the mirror holds another run or other files, or a
        damaged manifest, and `InterruptedRunError` where it cannot be reached.
        """
        with _explained(self._address, "read"):
            sizes = self._list()
            there = self._manifest() if _MANIFEST in sizes else None
        if there is None and sizes and _MARKER not in sizes:
            raise UserError(f"run.mirror: {self._address} holds other files but no run; name an empty folder")
        path = self._folder / _MANIFEST
        here = read_result(Manifest, path) if path.exists() else None
        if here is not None and there is not None and here.created != there.created:
            raise UserError(
                f"run.mirror: {self._address} mirrors another run (begun {there.created}, that in run.dir "
                f"{here.created}); name another mirror, or another run.dir to resume that run"
            )
        if there is None or (here is not None and len(here.sessions) >= len(there.sessions)):
            self._copied = self._known(sizes)
            self._stale = {
                name
                for name in sizes
                if name.startswith(("rounds/", "checkpoints/")) and not (self._folder / name).exists()
            }
            return False
        log.warning(
            "%s: restoring the run from %s, %d files, %.3g GB",
            *(self._folder, self._address, len(sizes), sum(sizes.values()) / 1e9),
        )
        self._download({name: size for name, size in sizes.items() if name != _MARKER})
        self._copied = {name: state for name, state in self._scan().items() if name in sizes}
        self._marked = True
        return True

    def _known(self, sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
        """Return the files that an earlier process copied here and that the mirror still has."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, UserError):
            state = durable.read_json(self._folder / _STATE)
            if state["address"] == self._address:
                return {n: (s, t) for n, (s, t) in state["files"].items() if sizes.get(n) == s}
        return {}

    def _manifest(self) -> Manifest:
        copy = self._folder / _RESTORED / _MANIFEST
        self._fetch(_MANIFEST, copy)
        try:
            return read_result(Manifest, copy)
        except UserError as error:
            reason = str(error).replace(f"{copy}: ", "").partition(";")[0]
            raise UserError(
                f"run.mirror: {self._address}/{_MANIFEST} is damaged ({reason}); restore it from a copy, or "
                "name another mirror"
            ) from error
        finally:
            shutil.rmtree(copy.parent, ignore_errors=True)

    def _download(self, sizes: dict[str, int]) -> None:
        """Copy the files into the folder; only when all are there does any take its place."""
        waiting = self._folder / _RESTORED
        with _explained(self._address, "read"):
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(lambda name: self._fetch(name, waiting / name), sizes))
            for name, size in sizes.items():
                if (waiting / name).stat().st_size != size:
                    raise OSError(f"{name}: incomplete")
        for name in ("rounds", "checkpoints"):  # parts of an older state must not be mixed in
            shutil.rmtree(self._folder / name, ignore_errors=True)
        for name in sorted(sizes, key=lambda name: name == _MANIFEST):
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (waiting / name).replace(self._folder / name)
        shutil.rmtree(waiting)

    def _fetch(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._system.open_input_stream(f"{self._root}/{name}") as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)

    # -- copying ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Copy in the background from now on."""
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background copying and copy what is left.

        Raises `InterruptedRunError` where that fails: the same command tries again.
        """
        if self._thread is None:
            return
        self._ending = True
        self._wake.set()
        self._thread.join()
        self._thread = None
        try:
            self.update()
        except _failures() as error:
            raise InterruptedRunError(
                f"run.mirror: {self._address} could not be updated ({_reason(error)}); run the same command "
                "again to copy what it lacks"
            ) from error

    def wake(self) -> None:
        """Copy now what has changed, in the background."""
        self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait(_SECONDS)
            self._wake.clear()
            if self._ending:
                return
            try:
                self.update()
            except _failures() as error:
                if not self._failing:
                    log.warning(
                        "run.mirror: %s could not be updated (%s); the run continues, and it is tried again",
                        *(self._address, _reason(error)),
                    )
                self._failing = True
                continue
            if self._failing:
                log.info("run.mirror: %s is up to date again", self._address)
            self._failing = False

    def update(self) -> None:
        """Copy what has changed since the last time, and remove what is gone. Raises `OSError`."""
        manifest = self._folder / _MANIFEST
        if not manifest.exists():
            return
        state, content = _state(manifest), manifest.read_bytes()  # before the files, and written after them
        if not self._marked:
            self._write(_MARKER, json.dumps({"created": json.loads(content).get("created")}).encode())
            self._marked = True
        files = self._scan()
        changed = [name for name, now in files.items() if self._copied.get(name) != now and name != _MANIFEST]
        indexes = [name for name in changed if name.endswith(".sha256")]
        for batch in ([name for name in changed if name not in indexes], indexes):
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(lambda name: self._copy(name, files[name]), batch))
        if self._copied.get(_MANIFEST) != state:
            self._write(_MANIFEST, content)
            self._copied[_MANIFEST] = state
        gone = (self._stale | self._copied.keys()) - files.keys()
        for name in sorted(gone, key=lambda name: not name.endswith(".sha256")):
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_file(f"{self._root}/{name}")
            self._copied.pop(name, None)
            self._stale.discard(name)
        if changed or gone:
            durable.write_json(self._folder / _STATE, {"address": self._address, "files": self._copied})

    def _copy(self, name: str, state: tuple[int, int]) -> None:
        try:
            source = open(self._folder / name, "rb")  # noqa: SIM115 (closed below)
        except FileNotFoundError:  # removed since the folder was read
            return
        with source:
            self._write(name, source)
        self._copied[name] = state

    def _write(self, name: str, content: bytes | IO[bytes]) -> None:
        """Write a file of the mirror. An object appears when complete; a local file is renamed."""
        target = f"{self._root}/{name}"
        self._system.create_dir(str(PurePosixPath(target).parent), recursive=True)
        partial = target if self._is_object_store else f"{target}.partial"
        with self._system.open_output_stream(partial) as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file, _CHUNK)
        if partial != target:
            self._system.move(partial, target)

    # -- listing ---------------------------------------------------------------------------------------

    @property
    def _is_object_store(self) -> bool:
        return str(self._system.type_name) != "local"

    def _list(self) -> dict[str, int]:
        """Return the size of every file of the mirror, by its path in the run's folder."""
        from pyarrow import fs

        selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        found = {
            info.path[len(self._root) :].strip("/"): info.size
            for info in self._system.get_file_info(selector)
            if info.is_file and not info.path.endswith(".partial")
        }
        strange = [name for name in found if ".." in PurePosixPath(name).parts]
        if strange:
            raise UserError(f"run.mirror: {self._address}: {strange[0]!r} is not a file of a run; remove it")
        return found

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Return the state of every file of the folder that belongs into the mirror."""
        found = {}
        for path in _files(self._folder):
            with contextlib.suppress(FileNotFoundError):
                found[path.relative_to(self._folder).as_posix()] = _state(path)
        return found


def _files(folder: Path) -> Iterable[Path]:
    """Yield the files that are complete: no locks, nothing temporary, nothing set aside as damaged."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:  # removed since its parent was read
        return
    for path in entries:
        if path.name.startswith(".") or path.name.endswith(".damaged") or "orbax-checkpoint-tmp" in path.name:
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _open(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    from pyarrow import fs

    if "://" not in address:
        return fs.LocalFileSystem(), Path(address).expanduser().absolute().as_posix()
    if address.startswith(("gs:", "gcs:")) and "retry_limit_seconds" not in address:
        address += ("&" if "?" in address else "?") + "retry_limit_seconds=30"  # 15 minutes otherwise
    system, root = fs.FileSystem.from_uri(address)
    return system, root.rstrip("/")


@contextlib.contextmanager
def _explained(address: str, action: str) -> Any:
    """Raise a file system's errors as ones for users: permanent ones, and those that a retry may solve."""
    try:
        yield
    except _failures() as error:
        message = f"run.mirror: {address} cannot be {action} ({_reason(error)})"
        if type(error).__name__ == "ArrowInvalid" or _PERMANENT.search(str(error)):
            raise UserError(f"{message}; check the address and the credentials") from error
        raise InterruptedRunError(f"{message}; run the same command again when it can be reached") from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error, without its detail."""
    return (
        re.sub(r"\s*Detail:.*", "", str(error).strip().splitlines()[0])[:200] if str(error) else repr(error)
    )
