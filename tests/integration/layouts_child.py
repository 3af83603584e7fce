"""Trains and samples a tiny model over many layouts of eight virtual devices; prints what came out as JSON.

Run in a process of its own, which has eight devices, with tests/sampling and tests/training on its path.
Argument: a folder for checkpoints.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import tiny_llama
import tiny_training as tiny

from dast_jax.data.packing import pack
from dast_jax.models.load import abstract_model
from dast_jax.models.options import MeshOptions, SamplingMeshOptions
from dast_jax.models.sampling_copy import copy_for_sampling
from dast_jax.models.sharding import make_mesh, sampling_mesh, shard_params
from dast_jax.records import StageKey
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.groups import group_slots
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import StaticRequests, sample
from dast_jax.training.checkpoint import TrainCheckpoints, load_policy, save_policy
from dast_jax.training.step import init_optimizer, make_train_step, put_batch

CONFIG = dataclasses.replace(
    tiny.CONFIG, vocab_size=96, hidden_size=32, num_heads=8, num_kv_heads=4, head_dim=8, intermediate_size=64
)
LAYOUTS = [
    # training (data, fsdp, tensor), sampling
    ((8, 1, 1), (2, 1, 4)),
    ((1, 8, 1), (2, 1, 4)),
    ((2, 4, 1), (8, 1, 1)),
    ((4, 1, 2), (2, 1, 4)),
    ((1, 4, 2), (2, 1, 4)),
    ((2, 2, 2), (8, 1, 1)),
    ((1, 2, 4), (2, 1, 4)),
    ((1, 1, 8), (2, 1, 4)),
]
OPTIONS = dataclasses.replace(tiny.OPTIONS, batch_size=8, clip_norm=0.0, eps=1e-3)
SAMPLING = SamplingOptions(
    slots=16, prompt_buckets=(16,), max_new_tokens=6, tick_steps=2, prefill_batch=8, group=2
)


class NoText:
    """A tokenizer without an end."""

    eos_ids = ()

    def decode(self, ids, skip_special=True):
        return ""


class Mixed(StaticRequests):
    """Of three trials of each prompt the last is greedy: its temperature is as good as none."""

    def next(self, tick):
        requests = super().next(tick)
        cold = np.where(requests.trial == 2, 1e-6, 1.0).astype(np.float32)
        return dataclasses.replace(requests, temperature=cold)


def sampled(engine, params):
    """The tokens of 3 trials of 11 prompts."""
    engine.set_params(params)
    source = Mixed(tiny_llama.prompts(11, longest=16), trials=3)
    sample(engine, source, key=StageKey(seed=5, round=0))
    return [list(r.tokens) for row in source.rollouts for r in row]


def host(tree):
    """The arrays of a tree by path."""
    return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def peaky(random, path, shape):
    """Weights of which no token is nearly as probable as another, so that rounding changes none."""
    if "scale" in jax.tree_util.keystr(path):
        return np.ones(shape.shape, np.float32)
    return (0.24 if shape.ndim > 2 else 0.02) * random.standard_normal(shape.shape, np.float32)


def own(params, mesh):
    """Host arrays laid out over a mesh, in memory that a step may take."""
    return shard_params(jax.tree.map(np.copy, params), mesh)


def largest_collectives(text):
    """Kind → bytes of the largest result of that collective in a compiled program."""
    sizes = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2}
    found = {}
    for line in text.splitlines():
        match = re.search(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(-start)?\(", line)
        if match:
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
            size = max(sizes[t] * int(np.prod([int(n) for n in d.split(",") if n])) for t, d in shapes)
            found[match[2]] = max(size, found.get(match[2], 0))
    return found


def share(array):
    """The part of an array that one device holds."""
    return array.addressable_shards[0].data.size / array.size


def main(folder):
    graphdef, shapes = abstract_model(CONFIG)
    params = jax.tree_util.tree_map_with_path(functools.partial(peaky, np.random.default_rng(0)), shapes)
    rows = pack(tiny.examples(40), 32)
    batch = {k: np.stack([rows[i][k] for i in range(8)]) for k in rows[0]}
    engines = {}
    report = {"layouts": []}

    def step(mesh, start, state=None):
        options = OPTIONS
        with jax.set_mesh(mesh):
            if state is None:
                state = init_optimizer(options, start, mesh)
            update = make_train_step(graphdef, options, mesh)
            new, state, metrics = update(start, state, put_batch(batch, options, mesh), np.float32(1e-2))
        return new, state, float(metrics.loss)

    def train(mesh, start):
        new, state, loss = step(mesh, start)
        moments = next(
            x for x in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu")
        )
        return new, moments.mu, loss

    def engine(mesh):
        key = tuple(mesh.shape.values())
        if key not in engines:
            placed = shard_params(params, mesh)
            engines[key] = Engine(graphdef, placed, tokenizer=NoText(), options=SAMPLING, mesh=mesh)
        return engines[key]

    one = make_mesh(MeshOptions())
    new, gradient, loss = train(one, own(params, one))
    reference = jax.tree.map(np.asarray, new)
    expected = {
        "loss": loss,
        "weights": host(new),
        "gradient": host(gradient),
        "tokens": sampled(engine(one), shard_params(new, one)),
    }
    for sizes, of_sampling in LAYOUTS:
        mesh = make_mesh(MeshOptions(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))))
        other = sampling_mesh(
            SamplingMeshOptions(**dict(zip(("data", "fsdp", "tensor"), of_sampling, strict=True))), mesh
        )
        new, gradient, loss = train(mesh, own(params, mesh))
        ours, gradient = host(new), host(gradient)
        trained = shard_params(reference, mesh)  # the same bits for all: one update may round another way
        copy = copy_for_sampling(trained, jnp.dtype("float32"), other, None)
        tokens = sampled(engine(other), copy)
        flips = sum(a != b for a, b in zip(tokens, expected["tokens"], strict=True))
        up, moved = new.layers.up.kernel.get_value(), copy.layers.up.kernel.get_value()
        report["layouts"].append(
            {
                "training": sizes,
                "sampling": of_sampling,
                "loss": abs(loss / expected["loss"] - 1),
                "gradient": max(
                    float(np.abs(gradient[k] - expected["gradient"][k]).max())
                    / float(np.abs(expected["gradient"][k]).max())
                    for k in ours
                ),
                "weights": max(float(np.abs(ours[k] - expected["weights"][k]).max()) for k in ours),
                "copy": all(np.array_equal(a, expected["weights"][k]) for k, a in host(copy).items()),
                "different_responses": flips,
                "share_of_kernel": [share(up), share(moved)],
            }
        )
    report["responses"] = len(expected["tokens"])
    report["compilations"] = {str(k): e.compilations() for k, e in engines.items()}
    for sizes in ((2, 1, 4), (8, 1, 1)):
        drawn = engines[sizes]
        slots, pool = drawn._state
        report[f"state {sizes}"] = {
            "slots": share(slots.cache.k[0]), "pool": share(pool.cache.k[0]), "logits": share(pool.logits),
            "pool_bytes": pool.cache.k[0].nbytes,
        }  # fmt: skip
        with jax.set_mesh(drawn.mesh):
            live = np.ones(16, bool)
            groups = group_slots(live, drawn._row_of, drawn.options.rows_per_group, drawn.shards)
            tick = drawn._decode.lower(drawn._params, slots, pool, live, groups).compile().as_text()
            inserted = drawn._insert.lower(
                slots, pool, np.zeros(2, np.uint32), np.zeros((4, 16), np.int32), np.zeros(16, np.float32)
            ).compile().as_text()  # fmt: skip
        report[f"collectives {sizes}"] = {
            "decode": largest_collectives(tick),
            "insert": largest_collectives(inserted),
        }
    report["restored"] = restored(folder, new)
    report["training restored"] = training_restored(folder, step, params)
    print(json.dumps(report))


def restored(folder, params):
    """Whether a policy kept by eight devices, read by four, kept again and read by one has the same bits."""
    wanted = host(params)
    same = []
    for number, mesh in enumerate((MeshOptions(fsdp=2, tensor=2), MeshOptions())):
        save_policy(f"{folder}/{number}", params)
        target = shard_params(jax.tree.map(np.zeros_like, jax.device_get(params)), make_mesh(mesh))
        params = load_policy(f"{folder}/{number}", target)
        leaf = params.layers.up.kernel.get_value()
        same.append(len(leaf.sharding.device_set))
        same.append(all(np.array_equal(a, wanted[k]) for k, a in host(params).items()))
    return same


def training_restored(folder, step, params):
    """Train a step on eight devices; four go on from its checkpoint, and one from that of the four.

    Returns, of four devices and of one: their number, whether weights and optimizer state came back with
    their bits, and how far loss and weights of their next step are from those of eight devices.
    """
    copied = functools.partial(jax.tree.map, jnp.copy)  # a step takes the memory of what it is given
    mesh = make_mesh(MeshOptions(data=2, fsdp=2, tensor=2))
    kept = step(mesh, own(params, mesh))[:2]
    wanted = host(kept)
    eight, _, expected = step(mesh, *copied(kept))
    eight = host(eight)
    found = []
    for sizes in ({"fsdp": 2, "tensor": 2}, {}):
        checkpoints = TrainCheckpoints(f"{folder}/training {len(found)}")
        checkpoints.save(1, kept, {})
        checkpoints.finish()
        mesh = make_mesh(MeshOptions(**sizes))
        like = own(params, mesh)
        with jax.set_mesh(mesh):
            kept, _ = checkpoints.restore((like, init_optimizer(OPTIONS, like, mesh)))
        same = all(np.array_equal(array, wanted[k]) for k, array in host(kept).items())
        devices = len(kept[0].layers.up.kernel.get_value().sharding.device_set)
        new, _, loss = step(mesh, *copied(kept))
        away = max(float(np.abs(array - eight[k]).max()) for k, array in host(new).items())
        found.append([devices, same, abs(loss / expected - 1), away])
    return found


if __name__ == "__main__":
    main(sys.argv[1])
