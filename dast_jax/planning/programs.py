"""The programs of a run, traced from shapes: the SFT and preference steps, scoring, prefill, decode."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from dast_jax.config import RunConfig
from dast_jax.errors import UserError
from dast_jax.methods.lookup import method_class
from dast_jax.models.cache import PROMPT_BLOCK, suffix_block
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.models.load import abstract_model
from dast_jax.models.sharding import LOGICAL_AXES, MESH_AXES, make_mesh, mesh_sizes, param_shardings
from dast_jax.planning.formula import Layout, decode_bytes, forward_flops, prefill_bytes, training_bytes
from dast_jax.planning.targets import Target
from dast_jax.sampling.automatic import choose_shapes
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.state import empty_state, state_shardings
from dast_jax.training.optimizer import make_optimizer
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import needs_reference, preference_objective
from dast_jax.training.score import make_score_step
from dast_jax.training.step import SFTObjective, make_train_step

__all__ = ["Program", "Shapes", "programs", "run_shapes"]

_CPU_BLOCK, _BLOCK = 64, 128  # of blockwise attention


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What the programs follow from: the config with every choice made, the model, and the mesh.

    `mesh` is None where there are no devices to compile for; `sizes` are its axes in either case.
    """

    config: RunConfig
    model: LlamaConfig
    training: TrainingOptions
    sampling: SamplingOptions
    sizes: dict[str, int]
    mesh: Mesh | None
    stages: tuple[str, ...]

    @property
    def devices(self) -> int:
        """The number of devices of the mesh."""
        return math.prod(self.sizes.values())

    @property
    def layout(self) -> Layout:
        """The ways in which the model is split."""
        return Layout.of(self.sizes, jnp.dtype(self.config.model.compute_dtype).itemsize)

    @property
    def abstract_mesh(self) -> AbstractMesh:
        """The mesh without devices."""
        return AbstractMesh(
            tuple(self.sizes[axis] for axis in MESH_AXES), MESH_AXES, axis_types=(AxisType.Auto,) * 3
        )

    @property
    def replicated(self) -> tuple[str, ...]:
        """What a mesh axis should split, and does not divide."""
        c = self.model
        lengths = {
            "heads": c.num_heads, "kv_heads": c.num_kv_heads, "mlp": c.intermediate_size,
            "vocab": c.vocab_size, "embed": c.hidden_size,
        }  # fmt: skip
        found = [
            f"{name} ({length} over {axis}={self.sizes[axis]})"
            for name, length in lengths.items()
            for axis in LOGICAL_AXES[name]
            if length % self.sizes[axis]
        ]
        slots, ways = self.sampling.slots, self.sizes["data"] * self.sizes["fsdp"]
        return (*found, *([f"slots ({slots} over data x fsdp={ways})"] if slots % ways else []))


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of a run. Bytes and `useful_flops` are of one device; `estimate` is the formula's total.

    `trace` makes the program; `trips` are the lengths of loops that follow the data, by their scopes.
    """

    name: str
    what: str
    weights: float
    optimizer: float
    cache: float
    estimate: float
    useful_flops: float
    flops_estimate: float
    trace: Callable[[], Any]
    trips: Mapping[str, float]


# --- choosing shapes ----------------------------------------------------------------------------------


def run_shapes(config: RunConfig, model: LlamaConfig, target: Target) -> Shapes:
    """Return the shapes of the run's programs on `target`. Raises `UserError` for what does not divide."""
    sizes = dict(zip(MESH_AXES, mesh_sizes(config.mesh, target.count), strict=True))
    mesh = None if target.devices is None else make_mesh(config.mesh, target.devices)
    method = method_class(config.method)
    given = config.training
    training = dataclasses.replace(
        given,
        preference_loss=method.preference_loss
        if given.preference_loss == "method"
        else given.preference_loss,
    )
    _check_rows(training, sizes)
    memory = None if target.memory is None else int(target.memory * math.prod(sizes.values()))
    dtype = jnp.dtype(config.model.compute_dtype)
    cpu = target.devices is not None and target.devices[0].platform == "cpu"
    with _on(mesh):
        sampling = choose_shapes(config.sampling, model, dtype, cpu=cpu, memory=memory)
    return Shapes(
        config=config,
        model=model,
        training=training,
        sampling=sampling,
        sizes=sizes,
        mesh=mesh,
        stages=_stages(config, training),
    )


def _stages(config: RunConfig, training: TrainingOptions) -> tuple[str, ...]:
    """Return the programs that the method's rounds run, in order."""
    options: Any = config.method
    returned = typing.get_type_hints(method_class(options).training_set)["return"]
    may_pair = "PreferenceSet" in str(returned)
    pairs = may_pair and getattr(options, "loss", "dpo") == "dpo"
    warm_up = getattr(options, "warm_up", False) or hasattr(options, "loss")
    found = ["prefill", "decode"]
    if not pairs or warm_up:
        found.append("sft")
    if pairs and needs_reference(training):
        found.append("score")
    if pairs:
        found.append("preference")
    return tuple(found)


def _check_rows(training: TrainingOptions, sizes: Mapping[str, int]) -> None:
    size, ways = training.micro_batch_size or training.batch_size, sizes["data"] * sizes["fsdp"]
    if training.batch_size % size:
        raise UserError(
            f"training.micro_batch_size={size} does not divide training.batch_size={training.batch_size}: "
            "choose a divisor"
        )
    if size % ways:
        raise UserError(
            f"a micro-batch of {size} rows cannot be split over mesh.data x mesh.fsdp = {ways} devices: "
            f"choose a multiple for training.micro_batch_size or batch_size, as {-(-size // ways) * ways}"
        )


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
    config, c, options = shapes.config, shapes.model, shapes.training
    size = options.micro_batch_size or options.batch_size
    rows, length = (size if stage == "score" else options.batch_size), options.sequence_length
    trained = stage != "score"
    graphdef, params = _model(shapes, "float32" if trained else config.model.dtype)
    tokens = rows * length
    flops = forward_flops(c, tokens=tokens, keys=rows * length * (length + 1) / 2, logits=tokens)
    flops *= (3 if trained else 1) / shapes.devices
    optimizer = make_optimizer(options)
    weights = _bytes(params, shapes)
    state = jax.eval_shape(optimizer.init, params) if trained else None
    moments = _bytes(state, shapes)
    estimate = training_bytes(
        c,
        shapes.layout,
        rows=size,
        length=length,
        chunk=options.head_chunk,
        remat=config.model.remat or not trained,
        gradients=weights if trained else 0.0,
        micro=rows // size,
    )
    executed = flops * (4 / 3 if trained and config.model.remat else 1.0)

    def trace() -> Any:
        mesh, batch = shapes.mesh, _batch(shapes, stage, rows, size)
        with _on(mesh):
            if not trained:
                step: Any = make_score_step(graphdef, options.head_chunk, mesh)
                return step.trace(_laid_out(params, mesh), batch)
            objective = (
                SFTObjective(head_chunk=options.head_chunk)
                if stage == "sft"
                else preference_objective(options)
            )
            step = make_train_step(graphdef, options, mesh, objective)
            rate = jax.ShapeDtypeStruct((), np.float32)
            return step.trace(_laid_out(params, mesh), _laid_out(state, mesh), batch, rate)

    here = max(1, size // shapes.layout.rows)
    return Program(
        name=stage,
        what=f"{rows} rows of {length:,} tokens" + (f", {size} at a time" if size != rows else ""),
        weights=weights,
        optimizer=moments,
        cache=0.0,
        estimate=weights + moments + estimate,
        useful_flops=flops,
        flops_estimate=executed,
        trace=trace,
        trips={
            "head_chunks": math.ceil(length / min(options.head_chunk, length)),
            "attention_blocks": _visits(shapes, length, here),
        },
    )


def _visits(shapes: Shapes, length: int, rows: int) -> float:
    """Return the pairs of blocks that blockwise attention visits in rows of one text each."""
    cpu = shapes.mesh is not None and shapes.mesh.devices.flat[0].platform == "cpu"
    blocks = math.ceil(length / (_CPU_BLOCK if cpu else _BLOCK))
    return blocks * (blocks + 1) / 2 * (rows if cpu else 1)


def _sampling_program(shapes: Shapes, stage: str) -> Program:
    """Return prefill of the largest bucket, or a decode tick with all slots in the middle of a response."""
    config, c, o = shapes.config, shapes.model, shapes.sampling
    graphdef, params = _model(shapes, config.model.dtype)
    dtype = jnp.dtype(config.model.compute_dtype)
    with _on(shapes.mesh):
        state = jax.eval_shape(lambda: empty_state(o, c, dtype))
        laid_out = state_shardings(o, c, typing.cast(Any, shapes.abstract_mesh))
        block = suffix_block(o.tick_steps)
    weights = _bytes(params, shapes)
    cache = sum(map(_shard_bytes, jax.tree.leaves(state), jax.tree.leaves(laid_out)))
    bucket, rows = o.buckets[-1], o.prefill_rows(o.buckets[-1])
    mean = bucket + o.max_new_tokens / 2
    if stage == "prefill":
        flops = forward_flops(c, tokens=rows * bucket, keys=rows * bucket * (bucket + 1) / 2, logits=rows)
        temporaries = prefill_bytes(c, shapes.layout, rows=rows, length=bucket)
        what = f"{rows} prompts of {bucket:,} tokens"
    else:
        steps = o.slots * o.tick_steps
        flops = forward_flops(c, tokens=steps, keys=steps * mean, logits=steps)
        kept = jnp.dtype(config.model.dtype).itemsize
        temporaries = decode_bytes(c, shapes.layout, slots=o.slots, weights=weights, kept_width=kept)
        what = f"{o.tick_steps} steps of {o.slots} slots"

    def trace() -> Any:
        params_there = _laid_out(params, shapes.mesh)
        engine = Engine(
            graphdef,
            params_there,
            tokenizer=_NoTokenizer(c.eos_token_ids or (0,)),
            options=o,
            mesh=shapes.mesh,
        )
        return engine.traced()[stage]

    return Program(
        name=stage,
        what=what,
        weights=weights,
        optimizer=0.0,
        cache=float(cache),
        estimate=weights + cache + temporaries,
        useful_flops=flops / shapes.devices,
        flops_estimate=flops / shapes.devices,
        trace=trace,
        trips={
            "kept_prompts": rows,
            "attention_blocks": _visits(shapes, bucket, rows),
            "prompt_groups": 1,
            "prompt_blocks": math.ceil(bucket / PROMPT_BLOCK),
            "suffix_blocks": max(1, math.ceil(o.max_new_tokens / 2 / block)),
        },
    )


class _NoTokenizer:
    """Ends of responses are all that the programs need of a tokenizer."""

    def __init__(self, eos_ids: tuple[int, ...]):
        self.eos_ids = eos_ids

    def decode(self, ids: typing.Sequence[int], skip_special: bool = True) -> str:
        raise NotImplementedError


# --- shapes and layouts -------------------------------------------------------------------------------


def _model(shapes: Shapes, dtype: str) -> tuple[Any, Any]:
    model = shapes.config.model
    return abstract_model(shapes.model, dtype=dtype, compute_dtype=model.compute_dtype, remat=model.remat)


def _laid_out(tree: Any, mesh: Mesh | None) -> Any:
    """Return the shapes of `tree` with their layout over `mesh`."""
    if mesh is None:
        raise ValueError("there are no devices to compile for")
    return jax.tree.map(
        lambda sharding, x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        param_shardings(tree, mesh),
        tree,
    )


def _batch(shapes: Shapes, stage: str, rows: int, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a batch, as `put_batch` lays it out; scoring of pairs has their parents."""
    assert shapes.mesh is not None
    length = shapes.training.sequence_length
    sharding = NamedSharding(shapes.mesh, PartitionSpec(None, ("data", "fsdp")))

    def array(kind: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows // size, size, *shape), kind, sharding=sharding)

    names = ("tokens", "positions", "segment_ids", "targets", *(("parents",) if stage != "sft" else ()))
    batch = {name: array(np.int32, length) for name in names} | {"weights": array(np.float32, length)}
    if stage != "sft":
        batch |= {"pairs": array(np.float32, length // 2), "reference": array(np.float32, length // 2, 2)}
    return batch


def _bytes(tree: Any, shapes: Shapes) -> float:
    """Return the bytes of `tree` (parameters, or what is built like them) on one device."""
    shardings = param_shardings(tree, typing.cast(Any, shapes.abstract_mesh))
    return float(sum(map(_shard_bytes, jax.tree.leaves(tree), jax.tree.leaves(shardings))))


def _shard_bytes(x: Any, sharding: Any) -> int:
    return math.prod(sharding.shard_shape(x.shape)) * x.dtype.itemsize


def _on(mesh: Mesh | None) -> Any:
    import contextlib

    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)
