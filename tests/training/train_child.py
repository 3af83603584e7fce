"""Trains the tiny model with a checkpoint after every step; a test kills it. Arguments: folder, result."""

import sys

import numpy as np
import tiny_training as tiny
from flax import nnx

from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.trainer import train

if __name__ == "__main__":
    folder, result = sys.argv[1:]
    graphdef, params = tiny.model()
    done = train(
        graphdef,
        params,
        tiny.examples(),
        options=tiny.OPTIONS,
        seed=3,
        pad_id=0,
        checkpoints=TrainCheckpoints(folder, seconds=0),
        on_step=lambda step, total, metrics: print("step", step, flush=True),
    )
    with open(result, "wb") as file:
        np.savez(file, **{"/".join(p): np.asarray(v.get_value()) for p, v in nnx.to_flat_state(done.params)})
