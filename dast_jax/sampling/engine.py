"""The sampler's compiled half: a fixed number of slots and three programs (prefill, insert, decode).

The state is donated from call to call and never leaves the device; per tick one small integer array comes
back to the host. Which request occupies which slot, and when, is decided by `sampling/scheduler.py`; what
the programs compute is in `sampling/programs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Bool

from dast_jax.errors import UserError
from dast_jax.models.layout import check_divides
from dast_jax.models.llama import Graph, LlamaConfig, Params
from dast_jax.models.sharding import shards_of
from dast_jax.models.target import compiles_ahead, target_platform
from dast_jax.records import StageKey
from dast_jax.runtime.ahead import wait_for
from dast_jax.sampling.automatic import available_memory, choose_shapes
from dast_jax.sampling.groups import group_slots
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.programs import IMPLEMENTATION, Programs
from dast_jax.sampling.state import Pool, Slots, pool_rows, state_bytes, state_shardings, whole
from dast_jax.sampling.stopping import stop_tokens

__all__ = ["Engine", "TickOutput"]


@runtime_checkable
class _Tokenizer(Protocol):
    """What the engine and the scheduler need of a tokenizer."""

    @property
    def eos_ids(self) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TickOutput:
    """What one tick produced, on the host.

    drawn int32 [S]: new tokens of each slot's response so far; ended bool [S]: by EOS or the limit; tokens
    int32, logprobs and entropies float32 [S, 1 + tick_steps], column 0 being the token that was drawn
    before the tick, when the slot was filled; steps: decode steps run, fewer where nothing was active.
    """

    steps: int
    drawn: np.ndarray
    ended: np.ndarray
    tokens: np.ndarray
    logprobs: np.ndarray
    entropies: np.ndarray


class Engine:
    """A policy ready to sample with fixed options; compiles once per shape, however many stages it serves."""

    def __init__(
        self,
        graphdef: Graph,
        params: Params,
        *,
        tokenizer: _Tokenizer,
        options: SamplingOptions,
        mesh: Mesh | None = None,
    ):
        """Use `params` in their layout; raise `UserError` where options and model do not fit together.

        What `options` leave open is chosen (`sampling.automatic`); `self.options` has the numbers.
        """
        model = nnx.merge(graphdef, params)
        _check_positions(options, model.config)
        self.mesh = mesh
        self.shards = shards_of(mesh, "batch")
        with self._on_mesh():
            self.options = options = choose_shapes(
                options,
                model.config,
                model.dtype,
                cpu=target_platform() == "cpu",
                memory=available_memory(mesh),
                shards=self.shards,
            )
        check_divides("sampling.slots", options.slots, mesh, "slots")
        self.tokenizer = tokenizer
        self._params: Params | None = params
        self._shapes = jax.tree.map(lambda x: _laid_out(x, x.sharding), params)
        self._config: LlamaConfig = model.config
        self._dtype = model.dtype
        positions = self._config.max_position_embeddings - options.max_new_tokens
        self.max_prompt_length = min(options.buckets[-1], positions)
        special: dict[str, int] = getattr(tokenizer, "special_tokens", {})
        # Ends a response: the tokenizer's EOS, whatever else the model's config names, and stop strings that
        # are special tokens, which are in no text.
        ends = {*tokenizer.eos_ids, *self._config.eos_token_ids, *stop_tokens(special, options.stop)}
        self.eos_ids = frozenset(ends)
        self._base = np.zeros(2, np.uint32)
        self._state: tuple[Slots, Pool] | None = None
        self._row_of = np.zeros(options.slots, np.int32)  # pool row of the prompt in each slot
        self.on_compile: Callable[[str], None] | None = None
        """Called with "compiling sampler (3 of 14)" or so before a program runs for the first time."""
        self._begun: set[str] = set()
        self._compiling: dict[str, Future[Any]] = {}
        # Layouts are fixed in advance: left to the compiler, an output's may differ from the input's, and
        # the next call would be compiled again.
        with self._on_mesh():
            slots, pool = state_shardings(options, self._config, mesh) if mesh else (None, None)
        packed = whole(mesh) if mesh else None
        self._programs = programs = Programs(
            graphdef=graphdef,
            config=model.config,
            dtype=model.dtype,
            options=options,
            ends=np.array(sorted(ends), np.int32),
            shards=self.shards,
        )
        self._allocate = _jit(programs.empty, donate=(), out=(slots, pool) if mesh else None)
        self._prefill = _jit(programs.prefill, donate=(1,), out=pool)
        self._insert = _jit(programs.insert, donate=(0,), out=slots)
        self._decode = _jit(programs.decode, donate=(1,), out=(slots, packed) if mesh else None)

    def set_params(self, params: Params | None) -> None:
        """Sample from other parameters of the same shapes from now on; nothing is compiled again.

        None gives up the present ones, so that their memory can be freed until others are set.
        """
        self._params = params

    def compilations(self) -> dict[str, int]:
        """Return the number of programs of each step: of prefill one per bucket in use, of the others one."""
        steps = {"prefill": self._prefill, "insert": self._insert, "decode": self._decode}
        return {name: step._cache_size() for name, step in steps.items()}

    def memory_bytes(self) -> int:
        """Return the bytes of slots and prompt pool, over all devices of a mesh, without the parameters."""
        with self._on_mesh():
            return state_bytes(self.options, self._config, self._dtype, self.shards)

    def traced(self, program: str) -> Any:
        """Return "prefill" of the largest bucket, "insert" or "decode", traced from shapes.

        Nothing is computed, and the devices may be absent.
        """
        o, size, bucket = self.options, self.options.slots, self.options.buckets[-1]
        rows = self.prefill_rows(bucket) * self.shards
        with self._on_mesh():
            slots, pool = jax.eval_shape(self._programs.empty)
            if self.mesh is not None:
                shardings = state_shardings(o, self._config, self.mesh)
                slots, pool = jax.tree.map(_laid_out, (slots, pool), shardings)
            if program == "prefill":
                prompts = _int32(rows, bucket), _int32(rows), _int32(rows), _int32(self.shards)
                return self._prefill.trace(self._shapes, pool, *prompts)
            if program == "insert":
                columns = _int32(4, size), jax.ShapeDtypeStruct((size,), np.float32)
                return self._insert.trace(slots, pool, self._base, *columns)
            live = np.zeros(size, bool)
            groups = group_slots(live, np.zeros(size, np.int32), o.rows_per_group, self.shards)
            return self._decode.trace(self._shapes, slots, pool, live, groups)

    def compile_ahead(self, executor: Executor) -> None:
        """Have insertion and decoding compiled by `executor`, where they are not and that is possible.

        Prefill programs are not among them, since which buckets are needed is known with the prompts.
        """
        for name in ("insert", "decode") if compiles_ahead(self.mesh) else ():
            if name not in self._begun and name not in self._compiling:
                self._compiling[name] = executor.submit(self._compile, name)

    def _compile(self, program: str) -> None:
        with self._on_mesh():  # a program lowered without it is another one
            self.traced(program).lower().compile()

    @property
    def pool_rows(self) -> int:
        """Rows of the prompt pool of each part of the slots."""
        return pool_rows(self.options, self.shards) // self.shards

    def prefill_rows(self, bucket: int) -> int:
        """Return how many prompts of `bucket` positions one call prefills for each part of the slots."""
        return -(-self.options.prefill_rows(bucket) // self.shards)

    def release(self) -> None:
        """Free the memory of slots and pool; the next stage allocates it again."""
        self._state = None

    # --- the scheduler's calls ------------------------------------------------------------------------

    def start(self, key: StageKey) -> None:
        """Begin a stage, whose noise follows from `key`; slots need no clearing, filling overwrites them."""
        base = jax.random.key(key.seed, impl=IMPLEMENTATION)
        for part in (key.round, key.stage):
            base = jax.random.fold_in(base, part)
        self._base = np.asarray(jax.random.key_data(base))
        if self._state is None:
            with self._on_mesh():
                self._state = self._allocate()

    def bucket(self, length: int) -> int:
        """Return the smallest bucket that holds a prompt of `length` tokens (≤ `max_prompt_length`)."""
        return next(b for b in self.options.buckets if b >= length)

    def prefill(
        self,
        bucket: int,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        parts: Sequence[int] | None = None,
    ) -> None:
        """Run prompts that fit `bucket`: prompts[i] goes to row rows[i] of the pool of part parts[i].

        At most `prefill_rows(bucket)` for each part. Without a mesh there is only part 0.
        """
        size = self.prefill_rows(bucket)
        batch = size * self.shards
        tokens = np.zeros((batch, bucket), np.int32)
        lengths = np.ones(batch, np.int32)  # rows past a part's last prompt are computed and not kept
        target = np.zeros(batch, np.int32)
        count = np.zeros(self.shards, np.int32)
        for prompt, row, part in zip(prompts, rows, parts or [0] * len(prompts), strict=True):
            at = part * size + count[part]
            tokens[at, : len(prompt)] = prompt
            lengths[at], target[at] = len(prompt), row
            count[part] += 1
        self._announce(f"prefill {bucket}")
        slots, pool = self._device_state()
        with self._on_mesh():
            pool = self._prefill(self._params, pool, tokens, lengths, target, count)
        self._state = slots, pool

    def insert(
        self,
        slots: Sequence[int],
        rows: Sequence[int],
        queries: Sequence[int],
        trials: Sequence[int],
        temperatures: Sequence[float | None] | None = None,
    ) -> None:
        """Begin trial trials[i] of query queries[i] in slot slots[i].

        Its prompt is in row rows[i] of the pool of the slot's part. temperatures[i] None means the configured
        one. Raises `UserError` where a greedy engine is given another one.
        """
        size, at = self.options.slots, list(slots)
        columns = np.zeros((4, size), np.int32)
        columns[:, at] = [[1] * len(at), rows, queries, trials]
        configured = self.options.temperature
        wanted = [configured if t is None else t for t in temperatures or [None] * len(at)]
        if not configured and any(wanted):
            raise UserError(
                "sampling.temperature: 0 means greedy sampling, but the method requests other temperatures; "
                "set it above 0"
            )
        temperature = np.zeros(size, np.float32)
        temperature[at] = wanted
        self._announce("insert")
        state, pool = self._device_state()
        with self._on_mesh():
            state = self._insert(state, pool, self._base, columns, temperature)
        self._state = state, pool
        self._row_of[at] = list(rows)

    def decode(self, live: Bool[np.ndarray, " S"]) -> TickOutput:
        """Run one tick: up to `tick_steps` tokens for every slot that is `live` and has not ended."""
        self._announce("decode")
        state, pool = self._device_state()
        with self._on_mesh():
            groups = group_slots(live, self._row_of, self.options.rows_per_group, self.shards)
            state, packed = self._decode(self._params, state, pool, live, groups)
        self._state = state, pool
        host = np.asarray(packed)
        width = 1 + self.options.tick_steps
        tokens, logprobs, entropies = np.split(host[:, 3:], [width, 2 * width], axis=1)
        return TickOutput(
            steps=int(host[0, 0]),
            drawn=host[:, 1],
            ended=host[:, 2] == 0,
            tokens=tokens,
            logprobs=np.ascontiguousarray(logprobs).view(np.float32),
            entropies=np.ascontiguousarray(entropies).view(np.float32),
        )

    def _announce(self, program: str) -> None:
        """Report that `program` is about to be compiled, where it has not run yet; of how many at most.

        One that is being compiled ahead is waited for.
        """
        if program in self._begun:
            return
        self._begun.add(program)
        if self.on_compile is not None:
            programs = 2 + len(self.options.buckets)
            self.on_compile(f"compiling sampler ({len(self._begun)} of {programs})")
        if program in self._compiling:
            wait_for(self._compiling.pop(program))

    # --- state ----------------------------------------------------------------------------------------

    def _device_state(self) -> tuple[Slots, Pool]:
        if self._state is None:
            raise RuntimeError("call Engine.start first")
        return self._state

    @contextmanager
    def _on_mesh(self) -> Iterator[None]:
        if self.mesh is None:
            yield
        else:
            with jax.set_mesh(self.mesh):
                yield


def _laid_out(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _int32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.int32)


def _check_positions(options: SamplingOptions, config: LlamaConfig) -> None:
    if options.max_new_tokens >= config.max_position_embeddings:
        raise UserError(
            f"sampling.max_new_tokens: {options.max_new_tokens} leaves no space for a prompt in the model's "
            f"{config.max_position_embeddings} positions; lower it"
        )


def _jit(function: Callable[..., Any], *, donate: tuple[int, ...], out: Any) -> Any:
    if out is None:
        return jax.jit(function, donate_argnums=donate)
    return jax.jit(function, donate_argnums=donate, out_shardings=out)
