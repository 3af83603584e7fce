"""A command of two processes that have no model: they talk, then wait for what the test does to them."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence

import numpy as np

from dast_jax.cli import command
from dast_jax.distributed.group import current, decide, leads, tell
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
        elif how == "follower fails" and not leads():
            raise UserError("its disk is gone")
        elif how == "both diverge":
            raise DivergedError("the loss is not finite")
        print("ready", flush=True)
        while how != "talk":
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


if __name__ == "__main__":
    sys.exit(main())
