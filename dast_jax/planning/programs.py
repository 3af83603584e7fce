"""The programs of a run, traced from shapes: the SFT and preference steps, scoring, prefill, decode."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dast_jax.config import RunConfig
from dast_jax.errors import UserError
from dast_jax.methods.lookup import method_class, trains_on
from dast_jax.models.attention import block_length
from dast_jax.models.cache import prompt_block, suffix_block
from dast_jax.models.device_defaults import resolved
from dast_jax.models.layout import check_divides, replicated
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.models.load import abstract_model
from dast_jax.models.lora import Lora, join_adapters, lora_of, split_adapters
from dast_jax.models.options import ModelOptions
from dast_jax.models.sampling_copy import needs_copy
from dast_jax.models.sharding import laid_out, make_mesh, sampling_mesh, shards_of
from dast_jax.planning.formula import Layout, decode_bytes, forward_flops, prefill_bytes, training_bytes
from dast_jax.planning.targets import Target
from dast_jax.sampling.automatic import choose_shapes
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.state import empty_state, state_shardings
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import needs_reference, preference_objective
from dast_jax.training.score import make_score_step
from dast_jax.training.step import SFTObjective, batch_shapes, make_train_step, optimizer_shapes

__all__ = ["Program", "Shapes", "cached_model", "programs", "run_shapes"]

_FEWER = (2, 4)  # layers


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What the programs follow from: the config with every choice made, the model, and the two meshes.

    The meshes' devices are those to compile for, or CPU devices in the place of those that only formulas
    are for.
    """

    config: RunConfig
    model: LlamaConfig
    options: ModelOptions
    training: TrainingOptions
    sampling: SamplingOptions
    mesh: Mesh
    sampling_mesh: Mesh
    stages: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Axis → size of the mesh of training."""
        return dict(self.mesh.shape)

    @property
    def replicated(self) -> tuple[str, ...]:
        """What a mesh axis should split, and does not divide."""
        lines = replicated(self.model, self.mesh)
        if self.sampling_mesh != self.mesh:
            lines += replicated(self.model, self.sampling_mesh, "mesh.sampling")
        return tuple(lines)

    def layout(self, mesh: Mesh) -> Layout:
        """Return the ways in which `mesh` splits the model."""
        return Layout.of(mesh.shape, jnp.dtype(self.options.compute_dtype).itemsize)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of a run. Bytes and `useful_flops` are of one device; `estimate` is the formula's total.

    `held` are the run's other arrays that stay on the device meanwhile; the estimates of FLOPs and of traffic
    through memory are for programs that are not compiled.
    `trace` makes the program; `trips` are the lengths of loops that follow the data, by their scopes.
    `fewer` is the same program with fewer layers, (layers, program) twice, where it has one piece of code for
    each of `layers`: what the compiler says of all follows from these, in a fraction of the time.
    """

    name: str
    what: str
    weights: float
    optimizer: float
    cache: float
    held: float
    estimate: float
    useful_flops: float
    flops_estimate: float
    traffic_estimate: float
    trace: Callable[[], Any]
    trips: Mapping[str, float]
    layers: int = 0
    fewer: tuple[tuple[int, Program], ...] = ()


# --- choosing shapes ----------------------------------------------------------------------------------


def run_shapes(config: RunConfig, model: LlamaConfig, target: Target) -> Shapes:
    """Return the shapes of the run's programs on `target`. Raises `UserError` for what does not divide."""
    of_cpu = config.mesh.cpu_data if target.platform == "cpu" else 0  # CPU devices may stand for others
    mesh = make_mesh(dataclasses.replace(config.mesh, cpu_data=of_cpu), target.devices)
    for_sampling = sampling_mesh(config.mesh.sampling, mesh)
    options = resolved(config.model, target.platform)
    method, given = method_class(config.method), config.training
    training = dataclasses.replace(
        given,
        preference_loss=method.preference_loss
        if given.preference_loss == "method"
        else given.preference_loss,
    )
    key = "training.micro_batch_size" if training.micro_batch_size else "training.batch_size"
    check_divides(key, training.micro_batch_size or training.batch_size, mesh, "packed rows")
    if training.batch_size % (training.micro_batch_size or 1):
        raise UserError(
            f"training.micro_batch_size={training.micro_batch_size} does not divide "
            f"training.batch_size={training.batch_size}: choose a divisor"
        )
    with jax.set_mesh(for_sampling):
        sampling = choose_shapes(
            config.sampling,
            model,
            jnp.dtype(options.compute_dtype),
            cpu=target.platform == "cpu",
            memory=None if target.memory is None else int(target.memory * mesh.size),
            shards=shards_of(for_sampling, "batch"),
        )
    check_divides("sampling.slots", sampling.slots, for_sampling, "slots")
    return Shapes(
        config=config,
        model=model,
        options=options,
        training=training,
        sampling=sampling,
        mesh=mesh,
        sampling_mesh=for_sampling,
        stages=_stages(config, training),
    )


def _stages(config: RunConfig, training: TrainingOptions) -> tuple[str, ...]:
    """Return the programs that the method's rounds run, in order."""
    examples, pairs = trains_on(config.method)
    found = ["prefill", "decode"]
    if examples:
        found.append("sft")
    if pairs and needs_reference(training):
        found.append("score")
    if pairs:
        found.append("preference")
    return tuple(found)


# --- the programs -------------------------------------------------------------------------------------


def programs(shapes: Shapes) -> Iterator[Program]:
    """Yield the run's programs, in the order of a round; nothing is traced yet."""
    for stage in shapes.stages:
        if stage in ("prefill", "decode"):
            yield _sampling_program(shapes, stage)
        else:
            yield _row_program(shapes, stage)


def _row_program(shapes: Shapes, stage: str) -> Program:
    """Return a program over packed rows: a step of SFT or of preferences, or scoring."""
    c, options, mesh = shapes.model, shapes.training, shapes.mesh
    size, length, trained = options.micro_batch_size or options.batch_size, options.sequence_length, True
    rows, lora = options.batch_size, lora_of(options.lora)
    if stage == "score":
        rows, trained = size, False
    graphdef, params = _model(shapes, shapes.options.dtype if lora or not trained else "float32", lora)
    changed, frozen = split_adapters(params) if lora else (params, None)
    changed, frozen = laid_out(changed, mesh), laid_out(frozen, mesh)
    state = optimizer_shapes(options, changed, mesh) if trained else None
    tokens = rows * length
    forward = forward_flops(c, tokens=tokens, keys=rows * length * (length + 1) / 2, logits=tokens)
    passes, again = ((2 if lora else 3) if trained else 1), trained and shapes.options.remat == "full"
    weights, moments = _bytes(changed) + _bytes(frozen), _bytes(state)
    temporaries = training_bytes(
        c,
        shapes.layout(mesh),
        rows=size,
        length=length,
        chunk=options.head_chunk,
        remat=shapes.options.remat != "none" or not trained,
        gradients=_bytes(changed) if trained else 0.0,
        head_gradient=trained and not lora,
        micro=rows // size,
    )

    def trace() -> Any:
        batch = batch_shapes(dataclasses.replace(options, batch_size=rows), mesh, pairs=stage != "sft")
        with jax.set_mesh(mesh):
            if not trained:
                step: Any = make_score_step(graphdef, options.head_chunk, mesh)
                return step.trace(join_adapters(changed, frozen) if lora else changed, batch)
            objective = (
                SFTObjective(head_chunk=options.head_chunk)
                if stage == "sft"
                else preference_objective(options)
            )
            step = make_train_step(graphdef, options, mesh, objective)
            return step.trace(changed, state, batch, jax.ShapeDtypeStruct((), np.float32), frozen)

    return Program(
        name=stage,
        what=f"{rows} rows of {length:,} tokens" + (f", {size} at a time" if size != rows else ""),
        weights=weights,
        optimizer=moments,
        cache=0.0,
        held=0.0,
        estimate=weights + moments + temporaries,
        useful_flops=passes * forward / mesh.size,
        flops_estimate=(passes + again) * forward / mesh.size,
        traffic_estimate=(rows // size) * (passes + again) * (weights + temporaries) + 2 * moments,
        trace=trace,
        trips={
            "head_chunks": math.ceil(length / min(options.head_chunk, length)),
            "attention_blocks": _visits(mesh, length, max(1, size // shards_of(mesh, "batch")), packed=True),
        },
    )


def _visits(mesh: Mesh, length: int, rows: int, *, packed: bool) -> float:
    """Return the pairs of blocks that blockwise attention visits in rows of one text each."""
    platform = mesh.devices.flat[0].platform
    blocks = math.ceil(length / block_length(platform, packed=packed))
    return blocks * (blocks + 1) / 2 * (rows if platform == "cpu" else 1)


def _sampling_program(shapes: Shapes, stage: str) -> Program:
    """Return prefill of the largest bucket, or a decode tick with all slots in the middle of a response."""
    c, o, mesh = shapes.model, shapes.sampling, shapes.sampling_mesh
    dtype = jnp.dtype(shapes.options.compute_dtype)
    graphdef, params, held = _sampled_weights(shapes)
    shards = shards_of(mesh, "batch")
    with jax.set_mesh(mesh):
        state = jax.eval_shape(lambda: empty_state(o, c, dtype, shards))
        cache = sum(map(_shard_bytes, *map(jax.tree.leaves, (state, state_shardings(o, c, mesh)))))
        block = suffix_block(o.tick_steps)
    weights, layout = _bytes(params), shapes.layout(mesh)
    bucket, rows = o.buckets[-1], -(-o.prefill_rows(o.buckets[-1]) // shards) * shards
    if stage == "prefill":
        flops = forward_flops(c, tokens=rows * bucket, keys=rows * bucket * (bucket + 1) / 2, logits=rows)
        temporaries = prefill_bytes(c, layout, rows=rows, length=bucket)
        what = f"{rows} prompts of {bucket:,} tokens"
    else:
        steps = o.slots * o.tick_steps
        seen = bucket + o.max_new_tokens / 2
        flops = forward_flops(c, tokens=steps, keys=steps * seen, logits=steps)
        temporaries = decode_bytes(c, layout, slots=o.slots, shards=shards)
        what = f"{o.tick_steps} steps of {o.slots} slots"

    fewer: tuple[tuple[int, Program], ...] = ()
    if stage == "decode" and c.num_layers > 2 * _FEWER[-1]:
        models = ((n, dataclasses.replace(c, num_layers=n)) for n in _FEWER)
        fewer = tuple(
            (n, _sampling_program(dataclasses.replace(shapes, model=model), stage)) for n, model in models
        )

    def trace() -> Any:
        tokenizer = _NoTokenizer(c.eos_token_ids or (0,))
        return Engine(graphdef, params, tokenizer=tokenizer, options=o, mesh=mesh).traced(stage)

    return Program(
        name=stage,
        what=what,
        weights=weights,
        optimizer=0.0,
        cache=float(cache),
        held=held,
        estimate=weights + cache + held + temporaries,
        useful_flops=flops / mesh.size,
        flops_estimate=flops / mesh.size,
        traffic_estimate=(o.tick_steps if stage == "decode" else 1) * (weights + cache / 2),
        trace=trace,
        trips={
            "kept_prompts": rows / shards,
            "attention_blocks": _visits(mesh, bucket, rows // shards, packed=False),
            "prompt_groups": 1,
            "prompt_blocks": math.ceil(bucket / prompt_block(bucket)),
            "suffix_blocks": max(1, math.ceil(o.max_new_tokens / 2 / block)),
        },
        layers=c.num_layers,
        fewer=fewer,
    )


def _sampled_weights(shapes: Shapes) -> tuple[Any, Any, float]:
    """Return graph and weights that the sampler reads, and the bytes of those that it reads a copy of."""
    options, lora = shapes.options, lora_of(shapes.training.lora)
    graphdef, kept = _model(shapes, options.dtype, lora)
    kept = laid_out(kept, shapes.mesh)
    dtype = jnp.dtype(options.compute_dtype)
    if not needs_copy(kept, dtype, shapes.mesh, shapes.sampling_mesh):
        return graphdef, kept, 0.0
    graphdef, base = _model(shapes, options.dtype, None)

    def one(path: Any, leaf: Any) -> Any:
        value = leaf.get_value()
        return leaf.replace(jax.ShapeDtypeStruct(value.shape, value.dtype if path[-1] == "scale" else dtype))

    copy = nnx.from_flat_state({path: one(path, leaf) for path, leaf in nnx.to_flat_state(base)})
    return graphdef, laid_out(copy, shapes.sampling_mesh), _bytes(kept)


class _NoTokenizer:
    """Ends of responses are all that the programs need of a tokenizer."""

    def __init__(self, eos_ids: tuple[int, ...]):
        self.eos_ids = eos_ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        raise NotImplementedError


# --- shapes and layouts -------------------------------------------------------------------------------


def _model(shapes: Shapes, dtype: str, lora: Lora | None) -> tuple[Any, Any]:
    options = shapes.options
    return cached_model(shapes.model, dtype, options.compute_dtype, options.remat, lora)


@functools.lru_cache(maxsize=16)
def cached_model(
    config: LlamaConfig,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    remat: str = "none",
    lora: Lora | None = None,
) -> tuple[Any, Any]:
    """Return `abstract_model`: the programs of a plan, and of what it suggests, share few of them."""
    return abstract_model(config, dtype=dtype, compute_dtype=compute_dtype, remat=remat, lora=lora)


def _bytes(tree: Any) -> float:
    """Return the bytes of shapes on one device."""
    return float(sum(_shard_bytes(x, x.sharding) for x in jax.tree.leaves(tree)))


def _shard_bytes(x: Any, sharding: Any) -> int:
    shape: tuple[int, ...] = sharding.shard_shape(x.shape)
    return math.prod(shape) * int(x.dtype.itemsize)
