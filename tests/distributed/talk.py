"""A command of two processes that have no model: they talk, then wait for what the test does to them."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dast_jax.cli import command
from dast_jax.distributed.group import current, decide, everywhere, leads, tell
from dast_jax.distributed.meeting import meet
from dast_jax.distributed.options import DistributedOptions
from dast_jax.distributed.start import join
from dast_jax.distributed.supervise import is_child, supervise
from dast_jax.errors import DivergedError, UserError
from dast_jax.runtime import interruption

SILENCE = 6
MESSAGES = 2200  # more than two blocks of those that are deleted together


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not is_child():
        return supervise("tests.distributed.talk", arguments, SILENCE)
    index, port, how = arguments
    options = DistributedOptions(
        processes=2, process_id=int(index), coordinator=f"localhost:{port}", silence_seconds=SILENCE
    )
    with join(options, 2):
        if how == "talk":
            _talk()
        elif how.startswith("states "):
            _states(Path(how.removeprefix("states ")))
        elif how == "follower fails" and not leads():
            raise UserError("its disk is gone")
        elif how == "both diverge":
            raise DivergedError("the loss is not finite")
        print("ready", flush=True)
        while how.partition(" ")[0] not in ("talk", "states"):
            decide(_turn)
    return 0


def _turn() -> bool:
    time.sleep(0.05)
    interruption.check()
    return True


def _talk() -> None:
    """Send a digest of everything that was said, which the follower compares with what it heard."""
    rng = np.random.default_rng(0)
    large = rng.integers(0, 2**31, 100_003, np.int32)
    group = current()
    assert group is not None
    digest = hashlib.sha256()
    if leads():
        for i in range(MESSAGES):
            tell("small", number=i, row=np.arange(i % 5, dtype=np.int32))
            digest.update(f"small {i} {i % 5}".encode())
        tell("large", array=large)
        digest.update(large.tobytes())
    else:
        for _ in range(MESSAGES):
            name, values = group.hear()
            digest.update(f"{name} {values['number']} {len(values['row'])}".encode())
        name, values = group.hear()
        digest.update(values["array"].tobytes())
    theirs = decide(digest.hexdigest)
    print("heard it all" if theirs == digest.hexdigest() else "heard something else", flush=True)


def _states(folder: Path) -> None:
    """Save and restore a state of both processes, with a folder that both see and with one of process 0's."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from ml_dtypes import bfloat16

    from dast_jax.training.checkpoint import TrainCheckpoints, load_policy, save_policy
    from dast_jax.training.gathered import gather, spread

    group = current()
    assert group is not None
    mesh = Mesh(np.array(jax.devices()), ("both",))
    assert everywhere(True)
    assert not everywhere(leads())
    meet(mesh)
    odd = np.random.default_rng(0).integers(0, 2**32, (7, 6), np.uint32).view(np.float32)  # NaNs, too
    odd[0, :2] = -0.0
    contents = {
        "by column": (odd, PartitionSpec(None, "both")),
        "by row": (odd[:6].astype(bfloat16), PartitionSpec("both")),
        "on both": (np.arange(3, dtype=np.int32), PartitionSpec()),
        "a number": (np.float32(-0.0), PartitionSpec()),
    }

    def on_devices(value: Any, spec: PartitionSpec) -> jax.Array:
        whole = np.asarray(value)
        sharding = NamedSharding(mesh, spec)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    tree = {name: on_devices(*content) for name, content in contents.items()}

    def bits(state: Any) -> dict[str, list[bytes]]:
        return {k: [np.asarray(s.data).tobytes() for s in x.addressable_shards] for k, x in state.items()}

    whole = gather(tree, piece_bytes=16)
    for name, (value, _) in contents.items():
        assert not leads() or whole[name].tobytes() == np.asarray(value).tobytes(), name
    assert bits(spread(whole, tree, piece_bytes=16)) == bits(tree)

    shared, mine = TrainCheckpoints(folder / "shared"), TrainCheckpoints(folder / f"of process {group.index}")
    shared.save(1, tree, {"saved": "together"})
    shared.finish()
    state, meta = shared.restore(tree) or ({}, {})
    assert (bits(state), meta) == (bits(tree), {"saved": "together"})
    group.shares_folder = False  # as if `folder` were on another disk for each
    state, meta = shared.restore(tree) or ({}, {})
    assert (bits(state), meta) == (bits(tree), {"saved": "together"})
    mine.save(2, tree, {"saved": "by process 0"})
    mine.finish()
    state, meta = mine.restore(tree) or ({}, {})
    assert (bits(state), meta) == (bits(tree), {"saved": "by process 0"})
    save_policy(folder / f"of process {group.index}" / "policy", tree)
    assert bits(load_policy(folder / f"of process {group.index}" / "policy", tree)) == bits(tree)
    print("came back", flush=True)


if __name__ == "__main__":
    sys.exit(main())
