"""A tiny model and examples for the training tests."""

import functools

import jax
import numpy as np
from flax import nnx

from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.records import SFTExample
from dast_jax.training.options import TrainingOptions

CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
)
OPTIONS = TrainingOptions(
    batch_size=4,
    sequence_length=32,
    learning_rate=1e-2,
    preference_learning_rate=1e-2,
    epochs=2,
    head_chunk=8,
    warmup_fraction=0.2,
    weight_decay=0.1,
)


@functools.cache
def model():
    """(graphdef, params) of a Llama of 6 k parameters."""
    return nnx.split(Llama(CONFIG, rngs=nnx.Rngs(0)))


def examples(n=24, seed=0):
    """Examples of 4 to 24 tokens that a tiny model can learn: the response counts up from the prompt."""
    random = np.random.RandomState(seed)
    made = []
    for i in range(n):
        prompt = random.randint(0, 32, random.randint(2, 8))
        response = (prompt[-1] + 1 + np.arange(random.randint(2, 17))) % 32
        made.append(SFTExample(query=i, prompt=tuple(prompt.tolist()), response=tuple(response.tolist())))
    return made


def same_bits(a, b):
    """Whether two trees hold the same arrays, bit for bit."""
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b, strict=True)
    )


def close(a, b, rtol=1e-4):
    """Whether all arrays of two trees agree to `rtol` of each array's largest value."""
    return all(
        np.abs(np.asarray(x) - np.asarray(y)).max() <= rtol * np.abs(np.asarray(y)).max()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
