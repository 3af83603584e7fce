"""The sampler's compiled half: a fixed number of slots and three programs (prefill, insert, decode).

The state is donated from call to call and never leaves the device; per tick one small integer array comes
back to the host. Which request occupies which slot, and when, is decided by `sampling/scheduler.py`.

The noise of a token is a function of (seed, round, stage, query, trial, index of the token in the
response): threefry keys, folded in that order. Every other operation treats slots, prefill rows and pool
rows alike and apart, so a response does not depend on its neighbors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, UInt32

from dast_jax.errors import UserError
from dast_jax.models.cache import Prompts, Suffixes, Window, append, blocked, empty_window, store_row
from dast_jax.models.decode_attention import DecodeContext, Groups
from dast_jax.models.layout import check_divides
from dast_jax.models.llama import Graph, LlamaConfig, Params
from dast_jax.models.sharding import Laid, constrain, locally, shards_of
from dast_jax.models.target import target_platform
from dast_jax.records import StageKey
from dast_jax.sampling.automatic import available_memory, choose_shapes
from dast_jax.sampling.filters import Choice, choose
from dast_jax.sampling.groups import group_slots
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.state import Pool, Slots, empty_state, pool_rows, state_bytes, state_shardings, whole

__all__ = ["Engine", "TickOutput"]

_IMPLEMENTATION = "threefry2x32"  # `rbg` noise would depend on which slots are drawn together


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
        self._graphdef = graphdef
        self._params: Params | None = params
        self._config: LlamaConfig = model.config
        self._dtype = model.dtype
        positions = self._config.max_position_embeddings - options.max_new_tokens
        self.max_prompt_length = min(options.buckets[-1], positions)
        # Ends a response: the tokenizer's EOS, whatever else the model's config names, and stop strings that
        # are special tokens, which are in no text (int32 [E]).
        ends = {*tokenizer.eos_ids, *self._config.eos_token_ids, *_stop_tokens(tokenizer, options.stop)}
        self._eos = np.array(sorted(ends), np.int32)
        self.eos_ids = frozenset(self._eos.tolist())
        self._base = np.zeros(2, np.uint32)
        self._state: tuple[Slots, Pool] | None = None
        self._row_of = np.zeros(options.slots, np.int32)  # pool row of the prompt in each slot
        self.on_compile: Callable[[str], None] | None = None
        """Called with "compiling sampler (3 of 14)" or so before a program runs for the first time."""
        self._begun: set[str] = set()
        # Layouts are fixed in advance: left to the compiler, an output's may differ from the input's, and
        # the next call would be compiled again.
        with self._on_mesh():
            slots, pool = state_shardings(options, self._config, mesh) if mesh else (None, None)
        packed = whole(mesh) if mesh else None
        self._allocate = _jit(self._empty, donate=(), out=(slots, pool) if mesh else None)
        self._prefill = _jit(self._prefill_step, donate=(1,), out=pool)
        self._insert = _jit(self._insert_step, donate=(0,), out=slots)
        self._decode = _jit(self._decode_tick, donate=(1,), out=(slots, packed) if mesh else None)

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

    def traced(self) -> dict[str, Any]:
        """Return the programs by name, traced from shapes: nothing is computed, and devices may be absent.

        That of prefill is the one for the largest bucket.
        """
        o, size, bucket = self.options, self.options.slots, self.options.buckets[-1]
        rows = self.prefill_rows(bucket) * self.shards
        with self._on_mesh():
            params = jax.tree.map(lambda x: _laid_out(x, x.sharding), self._params)
            slots, pool = jax.eval_shape(self._empty)
            if self.mesh is not None:
                shardings = state_shardings(o, self._config, self.mesh)
                slots, pool = jax.tree.map(_laid_out, (slots, pool), shardings)
            prompts = _int32(rows, bucket), _int32(rows), _int32(rows), _int32(self.shards)
            columns = _int32(4, size), jax.ShapeDtypeStruct((size,), np.float32)
            live = np.zeros(size, bool)
            groups = group_slots(live, np.zeros(size, np.int32), o.rows_per_group, self.shards)
            return {
                "prefill": self._prefill.trace(params, pool, *prompts),
                "insert": self._insert.trace(slots, pool, self._base, *columns),
                "decode": self._decode.trace(params, slots, pool, live, groups),
            }

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
        base = jax.random.key(key.seed, impl=_IMPLEMENTATION)
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
        """Report that `program` is about to be compiled, where it has not run yet; of how many at most."""
        if program in self._begun:
            return
        self._begun.add(program)
        if self.on_compile is not None:
            programs = 2 + len(self.options.buckets)
            self.on_compile(f"compiling sampler ({len(self._begun)} of {programs})")

    # --- compiled steps -------------------------------------------------------------------------------

    def _prefill_step(
        self,
        params: Params,
        pool: Pool,
        tokens: Int[Array, "N b"],
        lengths: Int[Array, " N"],
        rows: Int[Array, " N"],
        counts: Int[Array, " D"],
    ) -> Pool:
        """Return the pool with the first `counts` prompts of each part in rows `rows` of the part."""
        model = nnx.merge(self._graphdef, params)
        hidden, cache = model.prefill(tokens, lengths)
        logits = model.logits(hidden)
        prompts = blocked(cache, pool.cache.k[0].shape[-1])

        def keep_all(
            cache: Prompts, others: tuple[Array, Array], prompts: Prompts, of_rows: tuple[Array, ...]
        ) -> tuple[Prompts, tuple[Array, Array]]:
            logits, lengths, rows, counts = of_rows

            def keep(i: Int[Array, ""], kept: Pool) -> Pool:
                row = rows[i]
                return Pool(
                    cache=store_row(kept.cache, row, prompts, i),
                    logits=kept.logits.at[row].set(logits[i]),
                    length=kept.length.at[row].set(lengths[i]),
                )

            with jax.named_scope("kept_prompts"):
                pool: Pool = jax.lax.fori_loop(0, counts[0], keep, Pool(cache, *others))
            return pool.cache, (pool.logits, pool.length)

        axes = ("batch", None, "kv_heads")
        of_pool = (pool.logits, pool.length)
        kept, others = locally(
            keep_all,
            (
                Laid(pool.cache, axes),
                Laid(of_pool, ("batch",)),
                Laid(prompts, axes),
                Laid((logits, lengths, rows, counts), ("batch",)),
            ),
            (Laid(pool.cache, axes), Laid(of_pool, ("batch",))),
        )
        return Pool(kept, *others)

    def _insert_step(
        self,
        state: Slots,
        pool: Pool,
        base: UInt32[Array, " 2"],
        columns: Int[Array, "4 S"],
        temperature: Float[Array, " S"],
    ) -> Slots:
        """Return the slots, those whose column (whether it begins, pool row, query, trial) says so begun."""
        begins, rows, queries, trials = columns
        size = rows.shape[0]
        of_slots = Laid((begins, rows), ("batch",))
        logits, length = locally(
            lambda of_pool, of_slots: tuple(x[of_slots[1]] for x in of_pool),
            (Laid((pool.logits, pool.length), ("batch",)), of_slots),
            Laid((jax.ShapeDtypeStruct((size, pool.logits.shape[1]), jnp.float32), rows), ("batch",)),
        )
        noise = _fold(_fold(jnp.broadcast_to(base, (size, 2)), queries), trials)
        choice = self._choose(logits, noise, jnp.zeros(size, jnp.int32), temperature)
        drawn = jnp.ones(size, jnp.int32)
        begun = Slots(
            cache=state.cache,
            token=choice.token,
            logprob=choice.logprob,
            entropy=choice.entropy,
            position=length,
            drawn=drawn,
            active=~self._ends(choice.token, drawn),
            noise=noise,
            temperature=temperature,
        )

        def of(name: str) -> Array:
            new, old = getattr(begun, name), getattr(state, name)
            return jnp.where((begins > 0).reshape(-1, *(1,) * (old.ndim - 1)), new, old)

        return Slots(cache=state.cache, **{name: of(name) for name in Slots._fields if name != "cache"})

    def _decode_tick(
        self, params: Params, state: Slots, pool: Pool, live: Bool[Array, " S"], groups: Groups
    ) -> tuple[Slots, Int[Array, "S W"]]:
        """Return the slots after `tick_steps` steps (fewer if none is active), and what `decode` unpacks."""
        model = nnx.merge(self._graphdef, params)
        # XLA for CPU copies a layer's weights out of the stack before it multiplies: once a tick, not each
        # step. Elsewhere slices are read in place, and copies would only take memory.
        on_cpu = target_platform() == "cpu"
        layers = jax.lax.optimization_barrier(model.layer_slices()) if on_cpu else None
        state = state._replace(active=state.active & live)
        # A response begins with a tick, so at the next ones it has a multiple of `tick_steps` entries.
        stored = jnp.where(state.active, state.drawn - 1, 0)
        context = DecodeContext(pool.cache, pool.length, state.cache, stored, groups)
        width = 1 + self.options.tick_steps
        last = (state.token, state.logprob, state.entropy)
        drawn = Choice(*(jnp.zeros((x.shape[0], width), x.dtype).at[:, 0].set(x) for x in last))

        def unfinished(carry: tuple[Array, Slots, Window, Choice]) -> Bool[Array, ""]:
            step, state, *_ = carry
            return (step < self.options.tick_steps) & state.active.any()

        def advance(
            carry: tuple[Array, Slots, Window, Choice],
        ) -> tuple[Array, Slots, Window, Choice]:
            step, state, window, out = carry
            hidden, window = model.decode(state.token, state.position, context, window, step, layers)
            choice = self._choose(model.logits(hidden), state.noise, state.drawn, state.temperature)
            one = state.active.astype(jnp.int32)
            drawn = state.drawn + one
            state = state._replace(
                token=jnp.where(state.active, choice.token, state.token),
                position=state.position + one,
                drawn=drawn,
                active=state.active & ~self._ends(choice.token, drawn),
            )
            out = Choice(*(w.at[:, step + 1].set(x) for w, x in zip(out, choice, strict=True)))
            return step + 1, state, window, out

        moving = state._replace(cache=Suffixes((), ()))  # read in the loop, written after it
        begin = (jnp.int32(0), moving, self._empty_window(), drawn)
        step, moved, window, out = jax.lax.while_loop(unfinished, advance, begin)
        state = moved._replace(cache=append(state.cache, window, stored))
        columns = [jnp.full_like(state.drawn, step), state.drawn, state.active.astype(jnp.int32)]
        floats = [jax.lax.bitcast_convert_type(x, jnp.int32) for x in (out.logprob, out.entropy)]
        return state, jnp.concatenate([jnp.stack(columns, axis=1), out.token, *floats], axis=1)

    def _choose(
        self,
        logits: Float[Array, "S V"],
        noise: UInt32[Array, "S 2"],
        index: Int[Array, " S"],
        temperature: Float[Array, " S"],
    ) -> Choice:
        """Draw token number `index` (from 0) of each response."""
        o = self.options
        keys = jax.random.wrap_key_data(_fold(noise, index), impl=_IMPLEMENTATION)  # unused if greedy
        forbidden = None
        if o.min_new_tokens > 1:
            is_eos = jnp.zeros(logits.shape[-1], bool).at[self._eos].set(True)
            forbidden = is_eos & (index[:, None] + 1 < o.min_new_tokens)
        return choose(
            logits,
            keys,
            temperature=temperature if o.temperature else 0.0,
            top_k=o.top_k,
            top_p=o.top_p,
            forbidden=forbidden,
        )

    def _ends(self, token: Int[Array, " S"], drawn: Int[Array, " S"]) -> Bool[Array, " S"]:
        """Return whether a response of `drawn` tokens, the last of them `token`, has ended."""
        return jnp.isin(token, self._eos) | (drawn >= self.options.max_new_tokens)

    # --- state ----------------------------------------------------------------------------------------

    def _empty(self) -> tuple[Slots, Pool]:
        return empty_state(self.options, self._config, self._dtype, self.shards)

    def _empty_window(self) -> Window:
        o, c = self.options, self._config
        window = empty_window(c.num_layers, o.slots, c.num_kv_heads, o.tick_steps, c.head_dim, self._dtype)
        pinned: Window = jax.tree.map(lambda x: constrain(x, "batch", "kv_heads", None, None), window)
        return pinned

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


def _fold(noise: UInt32[Array, "S 2"], data: Int[Array, " S"]) -> UInt32[Array, "S 2"]:
    """Return the data of the key `noise[s]` with `data[s]` folded in."""
    keys = jax.random.wrap_key_data(noise, impl=_IMPLEMENTATION)
    return jax.random.key_data(jax.vmap(jax.random.fold_in)(keys, data))


def _laid_out(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _int32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.int32)


def _stop_tokens(tokenizer: _Tokenizer, stop: Sequence[str]) -> list[int]:
    """Return the ids of the stop strings that are special tokens.

    Raises `UserError` for one that holds a special token and more, which would never be found: decoded text
    has no special tokens.
    """
    special: dict[str, int] = getattr(tokenizer, "special_tokens", {})
    for text in stop:
        inside = next((token for token in special if token and token in text and token != text), None)
        if text not in special and inside is not None:
            raise UserError(
                f"sampling.stop: {text!r} holds the special token {inside!r}, which is in no response's "
                "text; give the token alone, or text without it"
            )
    return [special[text] for text in stop if text in special]


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
