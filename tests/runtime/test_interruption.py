"""A remembered request to stop is raised by the loops, once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dast_jax.estimators.clustering import embed
from dast_jax.runtime import interruption


@pytest.fixture(autouse=True)
def _nothing_requested() -> Iterator[None]:
    interruption.clear()
    yield
    interruption.clear()


def test_check_raises_a_request_once() -> None:
    interruption.check()
    interruption.request(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        interruption.check()
    interruption.check()


def test_a_loop_of_the_library_checks_without_any_progress_display() -> None:
    blocks = 0

    def encoder(texts) -> np.ndarray:
        nonlocal blocks
        blocks += 1
        interruption.request(KeyboardInterrupt())  # a signal whose exception was swallowed
        return np.zeros((len(texts), 2), np.float32)

    with pytest.raises(KeyboardInterrupt):
        embed(["text"] * 5000, encoder)
    assert blocks == 1
