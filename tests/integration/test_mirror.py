"""The mirror of a run directory: a new machine goes on from it to the same bits, and damage is noticed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from benchmarks import faults
from benchmarks.run_results import results
from dast_jax.config import load_config, run_settings
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.store import mirror as mirror_module
from dast_jax.store.mirror import Mirror, refresh
from dast_jax.store.run_store import RunStore
from tests.integration.conftest import SMALL


def _open(run_dir: Path, address: object, *overrides: str) -> RunStore:
    settings = [f"run.dir={run_dir}", *SMALL, f"run.mirror={address}", *overrides]
    return RunStore.open(run_settings(load_config("quickstart", settings)))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name != "mirror.json"
    }


@pytest.fixture
def mirrored(finished_run: Path, tmp_path: Path) -> Path:
    """A mirror of the finished run, in a local folder."""
    copy = shutil.copytree(finished_run, tmp_path / "first")
    refresh(str(tmp_path / "mirror"), Path(copy))
    shutil.rmtree(copy)
    return tmp_path / "mirror"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket on a local server with S3's interface."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
    from pyarrow import fs

    system, _ = fs.FileSystem.from_uri(f"s3://runs?{query}&allow_bucket_creation=true")
    system.create_dir("runs")
    yield f"s3://runs/small?{query}"
    server.stop()


# --- whole runs ---------------------------------------------------------------------------------------


def test_a_new_machine_goes_on_where_the_mirror_ends(bucket: str, finished_run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    process = faults.start("train", faults.arguments(first, f"run.mirror={bucket}"), tmp_path / "printed")
    there = Mirror(bucket, tmp_path / "looker")
    deadline = time.monotonic() + 240
    while not any(name.startswith("rounds/00/train") for name in there._list()):
        assert process.is_alive(), (tmp_path / "printed").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.join()
    shutil.rmtree(first)

    code, printed = faults.call(
        "train", faults.arguments(second, f"run.mirror={bucket}"), tmp_path / "printed"
    )
    assert code == 0, printed
    assert "restoring the run from s3://runs/small" in printed
    assert results(second) == results(finished_run)
    third = tmp_path / "third"
    third.mkdir()
    assert Mirror(bucket, third).restore()
    assert _files(third) == {n: c for n, c in _files(second).items() if not n.endswith(".damaged")}
    assert "report.html" in _files(third)


def test_an_unreachable_mirror_ends_a_run_resumably(bucket: str, tmp_path: Path, caplog) -> None:
    address = bucket.replace("127.0.0.1:", "127.0.0.1:1")  # a port without a server
    address = address[: address.index("127.0.0.1:") + len("127.0.0.1:")] + "9&scheme=http"
    with pytest.raises(InterruptedRunError, match=r"run\.mirror: s3://.* cannot be read .*run the same"):
        _open(tmp_path / "run", address)


def test_a_mirror_lost_on_the_way_ends_the_run_resumably(tmp_path: Path, caplog, monkeypatch) -> None:
    place = tmp_path / "place"
    store = _open(tmp_path / "run", place / "mirror")

    def fail(self: Mirror, name: str, content: object) -> None:
        raise OSError("Network is unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "_write", fail)
        (tmp_path / "run" / "new.txt").write_text("x")
        store._mirror.wake()
        deadline = time.monotonic() + 30
        while "the run continues" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "could not be updated (Network is unreachable); the run continues" in caplog.text
        with pytest.raises(InterruptedRunError, match="run the same command again to copy what it lacks"):
            store.close()
    _open(tmp_path / "run", place / "mirror").close()
    assert (place / "mirror" / "new.txt").read_text() == "x"


# --- restoring ----------------------------------------------------------------------------------------


def test_what_comes_back_is_what_was_there(mirrored: Path, finished_run: Path, tmp_path: Path) -> None:
    with _open(tmp_path / "new", mirrored) as store:
        assert "01/evaluate" in store.stages
    old, new = _files(finished_run), _files(tmp_path / "new")
    assert {name for name in old if old[name] != new.get(name)} <= {
        "manifest.json",  # another session
        "config.yaml",  # another folder
        "log.txt",
    }


def test_a_damaged_manifest_names_the_mirror(mirrored: Path, tmp_path: Path) -> None:
    (mirrored / "manifest.json").write_bytes((mirrored / "manifest.json").read_bytes()[:200])
    with pytest.raises(UserError, match=r"run\.mirror: .*/manifest\.json is damaged") as caught:
        _open(tmp_path / "new", mirrored)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["later policy", "responses", "training set"])
def test_damage_in_the_mirror_is_noticed_before_anything_is_computed(
    kind: str, mirrored: Path, tmp_path: Path
) -> None:
    faults.damage(mirrored, kind, "one bit flipped", random.Random(0))
    with pytest.raises(UserError, match="restore"):
        _open(tmp_path / "new", mirrored)


def test_the_newer_of_folder_and_mirror_counts(mirrored: Path, finished_run: Path, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    _open(first, mirrored).close()
    shutil.copytree(first, other)
    _open(first, mirrored).close()  # the mirror is now one session ahead of `other`
    stale = other / "rounds/01/responses/part-0000-0123456789abcdef.parquet"
    stale.write_bytes(b"of an older state")
    with _open(other, mirrored) as store:
        assert len(store._manifest.sessions) == 4
    assert not stale.exists()
    extra = mirrored / "rounds/01/responses/part-0000-0123456789abcdef.parquet"
    extra.write_bytes(b"removed in the run since")
    _open(other, mirrored).close()  # here the folder is ahead
    assert not extra.exists()


def test_what_is_not_the_runs_is_left_alone(mirrored: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files but no run; name an empty folder"):
        _open(tmp_path / "new", strange)
    with _open(tmp_path / "fresh", tmp_path / "empty"):
        pass
    with pytest.raises(UserError, match="mirrors another run"):
        _open(tmp_path / "fresh", mirrored)
    assert _files(strange) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("place", ["run", "run/mirror", "."])
def test_a_mirror_within_the_run_is_refused_as_it_would_copy_itself(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.mirror: .* and run\.dir lie within each other"):
        _open(tmp_path / "run", tmp_path / place)
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://host/x", "http:// is not supported; use gs://, s3:// or a local folder"),
        ("s3://KEY:SECRET@bucket/x", "holds a secret"),
    ],
)
def test_addresses_that_cannot_be_are_refused_by_the_config(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config("quickstart", [f"run.mirror={address}"])
    assert "SECRET" not in str(caught.value)


def test_a_mirror_that_was_cut_off_anywhere_can_be_opened(
    finished_run: Path, tmp_path: Path, monkeypatch
) -> None:
    """Stop the copying after every single write, from an old state of the run to a new one."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    old = tmp_path / "old"
    with _open(run, tmp_path / "nowhere", "run.repair=true"):
        pass
    shutil.rmtree(run / "rounds/01")  # as if round 1 had never been
    shutil.rmtree(run / "checkpoints/round_01")
    (run / "checkpoints/round_01.sha256").unlink(missing_ok=True)
    _open(run, old, "run.repair=true").close()
    shutil.rmtree(run)
    shutil.copytree(finished_run, run)
    (run / ".mirror.json").unlink(missing_ok=True)
    whole = sum(1 for _ in mirror_module._files(run))
    write = Mirror._write
    opened = 0
    for allowed in range(0, whole + 2, 3):
        place = Path(shutil.copytree(old, tmp_path / f"mirror{allowed}"))
        writer, left = Mirror(str(place), run), [allowed]

        def limited(self: Mirror, name: str, content: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError("killed")
            write(self, name, content)

        with monkeypatch.context() as patched:
            patched.setattr(Mirror, "_write", limited)
            patched.setattr(mirror_module, "_THREADS", 1)
            try:
                writer.update()
            except OSError:
                opened += 1
        with _open(tmp_path / f"new{allowed}", place) as store:
            assert "00/evaluate" in store.stages
        shutil.rmtree(tmp_path / f"new{allowed}")
        shutil.rmtree(place)
    assert opened > 5
