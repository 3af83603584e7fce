"""The sampler as a whole: its responses, bit for bit, and what they cost."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_llama
from flax import nnx
from scipy import stats
from tiny_llama import EOS, VOCAB, CharTokenizer

from dast_jax.errors import UserError
from dast_jax.records import FinishReason, Requests, Rollout, StageKey
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import StaticRequests, sample

KEY = StageKey(seed=3, round=1, stage=0)
REFERENCE = Path(__file__).with_name("greedy_reference.json")
decode = CharTokenizer().decode


def run(engine, prompts, trials=1, key=KEY):
    source = StaticRequests(prompts, trials=trials)
    found = sample(engine, source, key=key)
    return source.rollouts, found


class Scripted:
    """Requests handed out tick by tick: [(tick, query, trial)]; keeps what comes back and when.

    With `block` trials in a block, `prompts[query]` has a prompt for each block.
    """

    def __init__(self, prompts, script, known=(), block=None):
        self.block_size = block
        self.prompts, self.script = prompts, sorted(script, key=lambda row: row[0])
        self.stored = {(r.query, r.trial): r for r in known}
        self.found: list[tuple[int, Rollout]] = []
        self.prompted: list[int] = []

    def next(self, tick):
        now = [row for row in self.script if row[0] <= tick]
        self.script = [row for row in self.script if row[0] > tick]
        query, trial = [np.array([row[i] for row in now], np.int32) for i in (1, 2)]
        return Requests(query, trial, np.zeros(len(now), np.int8))

    def block(self, kind, trial):
        return trial // self.block_size if self.block_size else 0

    def prompt(self, query, kind, block):
        self.prompted.append(query)
        return self.prompts[query][block] if self.block_size else self.prompts[query]

    def finished(self, responses, tick):
        self.found += [(tick, r) for r in responses]

    def done(self):
        return not self.script

    def known(self, query, trial):
        return self.stored.get((query, trial))


# --- what is drawn ----------------------------------------------------------------------------------


def greedy_matches(make_engine, expected):
    rollouts, _ = run(make_engine(temperature=0, max_new_tokens=24), tiny_llama.prompts())
    assert [list(r.tokens) for (r,) in rollouts] == expected
    for (r,) in rollouts:
        assert r.finish_reason == (FinishReason.EOS if r.tokens[-1] in EOS else FinishReason.LENGTH)
        assert r.text == decode(r.tokens)


def test_greedy_tokens_equal_those_of_transformers(make_engine):
    expected = json.loads(REFERENCE.read_text())
    assert expected["max_new_tokens"] == 24
    assert len(expected["tokens"]) == 32
    greedy_matches(make_engine, expected["tokens"])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_greedy_tokens_equal_those_of_transformers_live(make_engine):
    import make_greedy_reference

    greedy_matches(make_engine, make_greedy_reference.generate())


@functools.cache
def forward(graphdef):
    def logits(params, tokens):
        model = nnx.merge(graphdef, params)
        return model.logits(model(tokens[None], jnp.arange(len(tokens))[None]))[0]

    return jax.jit(logits)


def logits_after(tiny, tokens):
    """float64 [len(tokens), V] by the whole-sequence forward pass; padded, so that it compiles once."""
    _, graphdef, params = tiny
    padded = np.zeros(64, np.int32)
    padded[: len(tokens)] = tokens
    return np.asarray(forward(graphdef)(params, padded), np.float64)[: len(tokens)]


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_frequencies_follow_the_softmax_at_temperature_one(tiny, make_engine):
    prompt = tiny_llama.prompts()[5]
    engine = make_engine(max_new_tokens=2, slots=512, prompt_buckets=(40,), tick_steps=1)
    n = 12_000
    (rollouts,), found = run(engine, [prompt], trials=n)
    assert found.prompts == 1
    first = np.array([r.tokens[0] for r in rollouts])
    most_probable = np.bincount(first[~np.isin(first, EOS)]).argmax()
    second = np.array([r.tokens[1] for r in rollouts if r.tokens[0] == most_probable])
    for drawn, context in ((first, prompt), (second, (*prompt, int(most_probable)))):
        p = np.exp(log_softmax(logits_after(tiny, context)[-1]))
        assert abs(p.sum() - 1) < 1e-9
        assert p.max() < 0.9, "a peaked distribution would test nothing"
        counts = np.bincount(drawn, minlength=VOCAB)
        rare = p * len(drawn) < 5  # merged, as the test's approximation needs
        observed = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(p[~rare], p[rare].sum()) * len(drawn)
        keep = expected > 0
        assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_logprob_and_entropy_are_the_untempered_models(tiny, make_engine):
    engine = make_engine(temperature=0.7, top_k=20, top_p=0.95)
    prompts = tiny_llama.prompts(6)
    rollouts, _ = run(engine, prompts)
    for prompt, (r,) in zip(prompts, rollouts, strict=True):
        logprobs = log_softmax(logits_after(tiny, (*prompt, *r.tokens)))[len(prompt) - 1 : -1]
        own = logprobs[np.arange(len(r.tokens)), list(r.tokens)]
        assert r.logprob == pytest.approx(own.sum(), rel=1e-4)
        assert r.entropy == pytest.approx(-(np.exp(logprobs) * logprobs).sum(-1).mean(), rel=1e-4)


# --- bit identity -----------------------------------------------------------------------------------


def bits(rollout):
    return rollout.tokens, rollout.logprob.hex(), rollout.entropy.hex(), rollout.finish_reason, rollout.text


@pytest.mark.parametrize("slots", [3, 7, 8])
def test_a_response_does_not_depend_on_neighbours_order_or_places(make_engine, slots):
    """Same seed, round, query, trial and slot count: the same bits in any slot, batch row and pool row."""
    engine = make_engine(slots=slots)
    prompts = tiny_llama.prompts(24)
    alone = {}
    for query in range(24):
        script = [(0, query, trial) for trial in range(2)]
        source = Scripted(prompts, script)
        sample(engine, source, key=KEY)
        alone.update({(r.query, r.trial): bits(r) for _, r in source.found})
    rng = np.random.default_rng(0)
    for _ in range(6):
        rows = [(q, t) for q in range(24) for t in range(2)]
        rng.shuffle(rows)
        rows = rows[: rng.integers(20, 48)]
        source = Scripted(prompts, [(int(rng.integers(0, 6)), *row) for row in rows])
        sample(engine, source, key=KEY)
        assert len(source.found) == len(rows)
        for _, r in source.found:
            assert bits(r) == alone[r.query, r.trial]
    assert len({alone[q, 0] == alone[q, 1] for q in range(24)}) == 1, "trials differ"


def test_noise_is_the_same_whatever_the_slot_count(make_engine):
    prompts = tiny_llama.prompts(16)
    seen = [
        [[r.tokens for r in row] for row in run(make_engine(slots=slots), prompts, trials=3)[0]]
        for slots in (3, 7, 8)
    ]
    assert seen[0] == seen[1] == seen[2]


def test_noise_depends_on_seed_round_stage_query_trial_and_index(make_engine):
    engine = make_engine(min_new_tokens=9)
    prompt = tiny_llama.prompts()[5]
    keys = [StageKey(3, 1, 0), StageKey(4, 1, 0), StageKey(3, 2, 0), StageKey(3, 1, 1), StageKey(1, 3, 0)]
    seen = [r.tokens for key in keys for row in run(engine, [prompt] * 3, trials=3, key=key)[0] for r in row]
    assert len(set(seen)) == len(seen)
    assert [r.tokens for row in run(engine, [prompt] * 3, trials=3)[0] for r in row] == seen[:9]


# --- ends -------------------------------------------------------------------------------------------


def test_eos_is_kept_in_the_tokens_and_held_back_by_min_new_tokens(make_engine):
    prompts = tiny_llama.prompts(24)
    rollouts, _ = run(make_engine(), prompts, trials=4)
    early = [r for row in rollouts for r in row if r.finish_reason is FinishReason.EOS]
    assert early
    assert {r.tokens[-1] for r in early} == set(EOS), "both EOS ids end a response"
    for r in early:
        assert not set(r.tokens[:-1]) & set(EOS)
        assert r.text == decode(r.tokens[:-1])
    rollouts, _ = run(make_engine(min_new_tokens=9), prompts, trials=4)
    lengths = [len(r.tokens) for row in rollouts for r in row]
    assert min(lengths) >= 9
    assert any(r.finish_reason is FinishReason.EOS for row in rollouts for r in row)


def test_stop_strings_cut_text_tokens_and_sums_wherever_ticks_end(tiny, make_engine):
    prompts = tiny_llama.prompts(16)
    stop = ("A", "[I", "\n")
    free = [r for row in run(make_engine(), prompts, trials=3)[0] for r in row]
    first = None
    for tick_steps in (1, 5):
        rollouts = [
            r for row in run(make_engine(stop=stop, tick_steps=tick_steps), prompts, trials=3)[0] for r in row
        ]
        stopped = [r for r in rollouts if r.finish_reason is FinishReason.STOP]
        assert len(stopped) > 5
        for whole, r in zip(free, rollouts, strict=True):
            cut = [decode(whole.tokens[:n]) for n in range(1, len(whole.tokens) + 1)]
            n = next((n for n, text in enumerate(cut, 1) if any(s in text for s in stop)), None)
            if n is None:
                assert (r.tokens, r.text, r.finish_reason) == (whole.tokens, whole.text, whole.finish_reason)
            else:
                at = min(i for i in (cut[n - 1].find(s) for s in stop) if i >= 0)
                assert (r.tokens, r.text) == (whole.tokens[:n], cut[n - 1][:at])
                logprobs = log_softmax(logits_after(tiny, (*prompts[r.query], *r.tokens)))
                own = logprobs[len(prompts[r.query]) - 1 : -1][np.arange(n), list(r.tokens)]
                assert r.logprob == pytest.approx(own.sum(), rel=1e-4)
        # Sums of other ticks are added up in another order: the same up to rounding.
        first = first or rollouts
        for one, other in zip(first, rollouts, strict=True):
            assert (one.tokens, one.text, one.finish_reason) == (
                other.tokens,
                other.text,
                other.finish_reason,
            )
            assert one.logprob == pytest.approx(other.logprob, rel=1e-5)
            assert one.entropy == pytest.approx(other.entropy, rel=1e-5)


def test_one_new_token(make_engine):
    rollouts, found = run(make_engine(max_new_tokens=1), tiny_llama.prompts(9))
    assert all(len(r.tokens) == 1 for (r,) in rollouts)
    assert found.slot_steps == 0
    assert found.ticks == 2  # nine responses through seven slots


# --- what it takes ----------------------------------------------------------------------------------


def test_compiles_once_per_shape(tiny):
    _, graphdef, params = tiny
    options = SamplingOptions(
        slots=4, prompt_buckets=(8, 16, 40), max_new_tokens=6, tick_steps=3, prefill_batch=2
    )
    engine = Engine(graphdef, params, tokenizer=CharTokenizer(), options=options)
    short = [p[:5] for p in tiny_llama.prompts(5)]
    run(engine, short, trials=3)
    assert engine.compilations() == {"prefill": 1, "insert": 1, "decode": 1}
    before = run(engine, tiny_llama.prompts(12), trials=2, key=StageKey(9, 9, 9))[0]
    engine.set_params(jax.tree.map(lambda x: x * 1.5, params))
    after = run(engine, tiny_llama.prompts(12), trials=2, key=StageKey(9, 9, 9))[0]
    assert before != after
    engine.release()
    engine.set_params(params)
    assert run(engine, tiny_llama.prompts(12), trials=2, key=StageKey(9, 9, 9))[0] == before
    assert engine.compilations() == {"prefill": 3, "insert": 1, "decode": 1}


def test_prompts_are_prefilled_once_for_all_their_trials(make_engine, monkeypatch):
    engine = make_engine()
    prompts = tiny_llama.prompts(20)
    prefilled = []
    prefill = engine.prefill

    def counting(bucket, batch, *places):
        prefilled.extend(batch)
        return prefill(bucket, batch, *places)

    monkeypatch.setattr(engine, "prefill", counting)
    _, found = run(engine, prompts, trials=9)
    assert sorted(prefilled) == sorted(prompts)
    assert (found.prompts, found.prompt_tokens) == (20, sum(map(len, prompts)))
    # Full batches: looking ahead fills the places that the prompt needed now leaves over.
    assert found.prefill_calls <= 20 // 3 + 3


@pytest.mark.parametrize("prompt_pool", [4, 36])
def test_a_block_of_trials_has_a_prompt_of_its_own_prefilled_once(make_engine, prompt_pool):
    """Each response is that of its block's prompt alone, whatever the order; stored ones change nothing."""
    engine = make_engine(prompt_pool=prompt_pool)
    prompts = tiny_llama.prompts(36)
    blocks = [prompts[3 * query : 3 * query + 3] for query in range(12)]
    rows = [(query, trial) for query in range(12) for trial in range(6)]
    alone = {}
    for b in range(3):
        source = Scripted([block[b] for block in blocks], [(0, q, t) for q, t in rows if t // 2 == b])
        sample(engine, source, key=KEY)
        alone.update({(r.query, r.trial): bits(r) for _, r in source.found})
    rng = np.random.default_rng(0)
    script = [(int(rng.integers(0, 4)), *row) for row in rng.permutation(rows).tolist()]
    whole = Scripted(blocks, script, block=2)
    found = sample(engine, whole, key=KEY)
    assert {(r.query, r.trial): bits(r) for _, r in whole.found} == alone
    if prompt_pool == 36:
        assert (found.prompts, sorted(whole.prompted)) == (36, sorted(3 * list(range(12))))
    again = Scripted(blocks, script, block=2, known=[r for _, r in whole.found[::2]])
    sample(engine, again, key=KEY)
    assert [(t, bits(r)) for t, r in again.found] == [(t, bits(r)) for t, r in whole.found]


def test_how_many_prompts_are_kept_changes_nothing(make_engine):
    """Prompts that had to leave the pool are prefilled again; the bits and the ticks stay."""
    prompts = tiny_llama.prompts(30)
    script = [(0, query, trial) for trial in range(2) for query in range(30)]
    large, small = Scripted(prompts, script), Scripted(prompts, script)
    kept = sample(make_engine(prompt_pool=30), large, key=KEY)
    again = sample(make_engine(prompt_pool=3), small, key=KEY)
    assert [(t, bits(r)) for t, r in small.found] == [(t, bits(r)) for t, r in large.found]
    assert sorted(large.prompted) == list(range(30))
    assert kept.prompts == 30 < again.prompts


def test_slots_are_refilled_as_they_finish(make_engine):
    engine = make_engine(tick_steps=1, max_new_tokens=12)
    prompts = tiny_llama.prompts(32)
    rollouts, found = run(engine, prompts, trials=2)
    lengths = [len(r.tokens) for row in rollouts for r in row]
    free = [0] * 7  # the tick in which each slot is next free; first come first served
    for length in lengths:
        slot = free.index(min(free))
        free[slot] += max(1, length - 1)
    assert found.ticks == max(free)
    assert found.generated_tokens == sum(lengths)
    assert found.used_slot_steps == sum(lengths) - len(lengths)
    assert found.slot_steps >= found.used_slot_steps
    assert found.trials == 64


# --- resume -----------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def test_resumed_with_stored_responses_it_is_the_same_stage(make_engine):
    """Stopped at any tick, and again: the same responses, bit for bit, at the same ticks and in order."""
    engine = make_engine(stop=("A",))
    prompts = tiny_llama.prompts(16)
    ticks = np.random.default_rng(0).integers(0, 9, 48).tolist()
    script = [(tick, i // 3, i % 3) for i, tick in enumerate(ticks)]
    whole = Scripted(prompts, script)
    unbroken = sample(engine, whole, key=KEY)
    assert len(whole.found) == 48
    last = whole.found[-1][0]
    for stops in ([last // 2], [1, last - 1], [2, 4, 7]):
        stored: list[Rollout] = []
        for stop in [*stops, None]:
            source = Scripted(prompts, script, known=stored)

            def progress(stats, stop=stop):
                if stats.ticks - 1 == stop:
                    raise Interrupted

            try:
                found = sample(engine, source, key=KEY, progress=progress)
            except Interrupted:
                assert stop is not None
            # The last one stored may have been lost, with others that finished in the same tick.
            stored = [r for _, r in source.found]
            if stop is not None:
                stored = stored[: max(0, len(stored) - 1)]
        assert [(t, bits(r)) for t, r in source.found] == [(t, bits(r)) for t, r in whole.found]
        assert found.replayed > 0
        assert found.replayed + found.trials == 48
        replayed = sum(len(r.tokens) for r in stored[: found.replayed])
        assert found.generated_tokens + replayed == unbroken.generated_tokens
        assert found.slot_steps < unbroken.slot_steps  # what was stored costs nothing again


def test_a_stage_that_is_stored_entirely_does_not_touch_the_model(make_engine, monkeypatch):
    engine = make_engine()
    prompts = tiny_llama.prompts(10)
    script = [(q // 4, q, 0) for q in range(10)]
    first = Scripted(prompts, script)
    sample(engine, first, key=KEY)
    for name in ("prefill", "insert", "decode"):
        monkeypatch.setattr(engine, name, None)
    second = Scripted(prompts, script, known=[r for _, r in first.found])
    found = sample(engine, second, key=KEY)
    assert second.found == first.found
    assert (found.replayed, found.trials) == (10, 0)
    assert (found.generated_tokens, found.slot_steps, found.padded_prompt_tokens) == (0, 0, 0)


# --- mesh, errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [{"fsdp": 2, "tensor": 2}, {"data": 4}])
def test_greedy_tokens_on_four_devices_are_those_on_one(tiny, shape):
    from dast_jax.models.options import MeshOptions
    from dast_jax.models.sharding import make_mesh, shard_params

    if len(jax.devices()) < 4:
        pytest.skip("needs four (virtual) devices")
    _, graphdef, params = tiny
    mesh = make_mesh(MeshOptions(**shape))
    options = SamplingOptions(
        temperature=0, slots=8, prompt_buckets=(16, 40), max_new_tokens=24, prefill_batch=4
    )
    split = shard_params(params, mesh)
    engine = Engine(graphdef, split, tokenizer=CharTokenizer(), options=options, mesh=mesh)
    rollouts, _ = run(engine, tiny_llama.prompts())
    assert [list(r.tokens) for (r,) in rollouts] == json.loads(REFERENCE.read_text())["tokens"]
    assert engine.compilations() == {"prefill": 2, "insert": 1, "decode": 1}
    slots, pool = engine._state
    rows, heads = 8 // (shape.get("data", 1) * shape.get("fsdp", 1)), 2 // shape.get("tensor", 1)
    shards = slots.cache.k[0].addressable_shards
    assert {s.data.shape for s in shards} == {(2, rows, heads, 12, 16)}
    assert {s.data.shape[2] for s in pool.cache.k[0].addressable_shards} == {heads}


def test_prompts_that_do_not_fit_are_named(make_engine):
    engine = make_engine()
    assert engine.max_prompt_length == 40
    with pytest.raises(UserError, match=r"query 1: 41 tokens, above the limit of 40"):
        run(engine, [(5,), (5,) * 41])
    with pytest.raises(UserError, match=r"query 0: has no tokens"):
        run(engine, [()])


def test_positions_of_the_model_limit_prompts(tiny):
    _, graphdef, params = tiny
    make = lambda **o: Engine(graphdef, params, tokenizer=CharTokenizer(), options=SamplingOptions(**o))  # noqa: E731
    assert make(prompt_buckets=(512,), max_new_tokens=100).max_prompt_length == 412
    with pytest.raises(UserError, match=r"max_new_tokens: 512 leaves no space"):
        make(max_new_tokens=512)


def test_nothing_to_do(make_engine):
    rollouts, found = run(make_engine(), [])
    assert rollouts == []
    assert (found.ticks, found.trials) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens"),
        ({"stop": ("",)}, "stop"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**options)


def test_the_quickstart_fits_in_memory(tiny):
    """64 slots, prompts up to 320 tokens, a model of a million parameters: a small part of 3 GB."""
    import dataclasses

    from dast_jax.sampling.state import state_bytes

    config = dataclasses.replace(tiny[0], num_layers=4, num_heads=4, num_kv_heads=4, head_dim=32)
    options = SamplingOptions(slots=64, prompt_buckets=(64, 320), max_new_tokens=64, tick_steps=16)
    assert state_bytes(options, config, jnp.float32) < 160e6


class _WithSpecial(CharTokenizer):
    special_tokens = MappingProxyType({"<x>": 41, "<y>": 42})

    def decode(self, ids, skip_special=True):
        return super().decode([i for i in ids if i not in (41, 42)])


def test_a_stop_string_that_is_a_special_token_ends_responses(tiny):
    _, graphdef, params = tiny
    made = {}
    for stop in ((), ("<x>", "<y>")):
        options = SamplingOptions(
            slots=4, prompt_buckets=(40,), max_new_tokens=40, tick_steps=8, prefill_batch=2, stop=stop
        )
        engine = Engine(graphdef, params, tokenizer=_WithSpecial(), options=options)
        made[stop] = [r.tokens for (r,) in run(engine, tiny_llama.prompts(24))[0]]
    cut = [next((i for i, t in enumerate(tokens) if t in (41, 42)), None) for tokens in made[()]]
    assert sum(i is not None for i in cut) > 3
    expected = [t if i is None else t[: i + 1] for t, i in zip(made[()], cut, strict=True)]
    assert made["<x>", "<y>"] == expected
    for refused in ("<x>\n", "a<y>"):
        with pytest.raises(UserError, match=r"sampling\.stop: .* holds the special token"):
            Engine(graphdef, params, tokenizer=_WithSpecial(), options=SamplingOptions(stop=(refused,)))
