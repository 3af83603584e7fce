"""Training on pairs: packing, micro-batches, meshes, resume, and that it learns the preference."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training as tiny

from dast_jax.data.packing import batches, pack
from dast_jax.data.pair_packing import pack_pairs
from dast_jax.errors import DivergedError, InterruptedRunError, UserError
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, shard_params
from dast_jax.records import PreferencePair, SFTExample
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.preference import preference_objective, reference_logprobs, train_preferences
from dast_jax.training.score import make_score_step, score
from dast_jax.training.step import loss_and_grads, make_train_step, objective_grads

OPTIONS = dataclasses.replace(tiny.OPTIONS, preference_loss="sigmoid", sequence_length=64)
MANY_STEPS = dataclasses.replace(OPTIONS, sequence_length=32)
gradients = jax.jit(objective_grads, static_argnums=(0, 3))


def pairs(n=20, seed=0):
    """Pairs of which the chosen response counts up from the prompt, and the rejected one down."""
    random = np.random.RandomState(seed)
    made = []
    for i in range(n):
        prompt = random.randint(0, 32, random.randint(2, 6))
        up, down = (np.arange(1, random.randint(2, 10)) for _ in range(2))
        chosen, rejected = (prompt[-1] + up) % 32, (prompt[-1] - down) % 32
        three = (tuple(x.tolist()) for x in (prompt, chosen, rejected))
        made.append(
            PreferencePair(**dict(zip(("prompt", "chosen", "rejected"), three, strict=True)), query=i)
        )
    return made


def arbitrary_reference(n=20, seed=1):
    return -30 * np.random.RandomState(seed).rand(n, 2).astype(np.float32)


def stacked(rows):
    return {k: np.stack([rows[i][k] for i in range(len(rows))]) for k in rows[0]}


def micro(batch, count):
    return {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}


def run(given=None, reference=None, *, options=OPTIONS, seed=3, params=None, **others):
    graphdef, initial = tiny.model()
    given = pairs() if given is None else given
    reference = arbitrary_reference(len(given)) if reference is None else reference
    params = initial if params is None else params
    return train_preferences(
        graphdef, params, given, reference, options=options, seed=seed, pad_id=0, **others
    )


@pytest.fixture(scope="module")
def unbroken():
    """The result of a whole run and its metrics."""
    seen = []
    result = run(options=MANY_STEPS, on_step=lambda step, total, metrics: seen.append(dict(metrics)))
    return result, seen


# -- rows --------------------------------------------------------------------------------------------


def test_both_responses_of_a_pair_follow_their_prompt():
    given, reference = pairs(), arbitrary_reference()
    rows = pack_pairs(given, reference, 64)
    assert sorted(i for row in rows.members for i in row) == list(range(20))
    assert 1 < len(rows) < 20
    for i, members in enumerate(rows.members):
        row = rows[i]
        assert row["pairs"].tolist() == [1.0] * len(members) + [0.0] * (32 - len(members))
        for j, member in enumerate(members):
            pair, prompt = given[member], row["segment_ids"] == 3 * j + 1
            assert row["reference"][j].tolist() == reference[member].tolist()
            assert not row["weights"][prompt].any()
            assert not row["parents"][prompt].any()
            for segment, response in ((3 * j + 2, pair.chosen), (3 * j + 3, pair.rejected)):
                own = row["segment_ids"] == segment
                assert (row["parents"][own] == 3 * j + 1).all()
                assert row["weights"][own].tolist() == [1.0] * len(response)
                both, text = prompt | own, (*pair.prompt, *response)
                assert tuple(row["tokens"][both]) == text[:-1]
                assert tuple(row["targets"][both]) == text[1:]
                assert row["positions"][both].tolist() == list(range(len(text) - 1))
        assert row["segment_ids"].max() == 3 * len(members)
    assert rows.tokens == sum((rows[i]["segment_ids"] > 0).sum() for i in range(len(rows)))
    assert rows.response_tokens == sum(rows[i]["weights"].sum() for i in range(len(rows)))


def test_the_smallest_pairs_fill_a_row():
    given = [PreferencePair(query=i, prompt=(1,), chosen=(2,), rejected=(3,)) for i in range(8)]
    rows = pack_pairs(given, arbitrary_reference(8), 17)
    assert len(rows) == 1
    assert rows[0]["pairs"].tolist() == [1.0] * 8
    assert rows[0]["segment_ids"].tolist() == [i for i in range(1, 25) if i % 3 != 1] + [0]


def test_pairs_with_a_text_that_does_not_fit_are_skipped_and_counted():
    long = PreferencePair(query=9, prompt=(1, 2), chosen=(3,) * 64, rejected=(4,) * 2)  # 65 positions
    snug = dataclasses.replace(long, chosen=(3,) * 60)
    reference = np.concatenate([arbitrary_reference(5), [[np.nan, -1.0]], [[-2.0, -1.0]]])
    result = run([*pairs(5), long, snug], reference)
    assert result.stats.skipped == (5,)
    assert result.stats.examples == 6
    assert result.stats.padded_tokens % 64 == 0
    with pytest.raises(UserError, match=r"1 preference pairs, 1 of them .*sequence_length=64"):
        run([long], np.array([[-1.0, -1.0]]))
    with pytest.raises(UserError, match="0 preference pairs"):
        run([], np.zeros((0, 2)))


WIDE = PreferencePair(query=9, prompt=(1, 2), chosen=(3,) * 60, rejected=(4,) * 50)  # 1 + 60 + 50 positions


def test_a_pair_whose_texts_fit_one_by_one_is_trained_on():
    given = [*pairs(5), WIDE, dataclasses.replace(WIDE, chosen=(5,) * 63)]
    long = dataclasses.replace(WIDE, chosen=(3,) * 64)
    graphdef, params = tiny.model()
    options = dataclasses.replace(OPTIONS, batch_size=16, micro_batch_size=0)
    reference, _ = reference_logprobs(graphdef, params, given, options=options, pad_id=0)
    assert np.isfinite(reference).all()  # each text scored alone, in rows of 64
    seen = []
    result = run(
        [*given, long],
        np.concatenate([reference, [[np.nan, -1.0]]]),
        options=options,
        on_step=lambda step, total, metrics: seen.append(metrics),
    )
    assert (result.stats.examples, result.stats.skipped) == (7, (7,))
    assert result.stats.padded_tokens == len(seen) * 16 * 64  # half the rows, twice as long
    first = seen[0]
    assert first["pairs"] == 7
    np.testing.assert_allclose(first["chosen_logprob"], reference[:, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(first["rejected_logprob"], reference[:, 1].mean(), rtol=1e-5)
    np.testing.assert_allclose(first["loss"], np.log(2), rtol=1e-5)


@pytest.mark.parametrize(("batch", "micro", "rows"), [(4, 2, 2), (4, 0, 2), (3, 0, 3), (3, 1, 3), (4, 1, 4)])
def test_rows_of_wide_pairs_are_half_as_many_where_that_divides(batch, micro, rows):
    options = dataclasses.replace(OPTIONS, batch_size=batch, micro_batch_size=micro, epochs=1)
    stats = run([WIDE] * 7, options=options).stats
    assert stats.examples == stats.rows == 7
    assert stats.steps == -(-7 // rows)
    assert stats.padded_tokens == stats.steps * rows * 128


def test_a_reference_that_does_not_belong_is_refused():
    with pytest.raises(ValueError, match=r"shape \(19, 2\) for 20 pairs"):
        run(reference=arbitrary_reference(19))
    with pytest.raises(ValueError, match="pair 3 has reference"):
        pack_pairs(pairs(), np.where(np.arange(20)[:, None] == 3, np.nan, arbitrary_reference()), 64)
    with pytest.raises(ValueError, match="needs reference"):
        train_preferences(*tiny.model(), pairs(), None, options=OPTIONS, seed=0, pad_id=0)
    empty = dataclasses.replace(pairs()[0], rejected=())
    with pytest.raises(ValueError, match=r"pair 0 .* lacks"):
        run([empty])


# -- the step ----------------------------------------------------------------------------------------


def test_packed_equals_unpacked():
    graphdef, params = tiny.model()
    objective = preference_objective(dataclasses.replace(OPTIONS, preference_loss="rpo"))
    given, reference = pairs(12), arbitrary_reference(12)
    packed = stacked(pack_pairs(given, reference, 64))
    each = [stacked(pack_pairs([p], r[None], 64)) for p, r in zip(given, reference, strict=True)]
    alone = {k: np.concatenate([batch[k] for batch in each]) for k in packed}
    assert len(packed["tokens"]) < len(alone["tokens"]) == 12
    value, sums, grads = gradients(graphdef, params, micro(packed, 1), objective)
    expected, expected_sums, expected_grads = gradients(graphdef, params, micro(alone, 1), objective)
    assert sums.pairs == 12
    assert sums.chosen_tokens == sum(len(p.chosen) for p in given)
    assert sums.tokens == sums.chosen_tokens + sum(len(p.rejected) for p in given)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for got, want in zip(jax.tree.leaves(sums), jax.tree.leaves(expected_sums), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert tiny.close(grads, expected_grads)


def test_chosen_responses_are_seen_as_sft_sees_them():
    graphdef, params = tiny.model()
    given = pairs(12)
    batch = stacked(pack_pairs(given, arbitrary_reference(12), 64))
    _, sums, _ = gradients(graphdef, params, micro(batch, 1), preference_objective(OPTIONS))
    chosen = [SFTExample(query=p.query, prompt=p.prompt, response=p.chosen) for p in given]
    rows = jax.tree.map(jnp.asarray, micro(stacked(pack(chosen, 64)), 1))
    expected, _ = loss_and_grads(graphdef, params, rows, 8)
    np.testing.assert_allclose(sums.of_pairs.chosen_logprob, -expected.nll, rtol=1e-5)
    assert sums.correct == expected.correct > 0


def test_micro_batches_equal_the_whole_batch_though_their_pair_counts_differ():
    graphdef, params = tiny.model()
    objective = preference_objective(OPTIONS)
    rows = pack_pairs(pairs(30), arbitrary_reference(30), 64)
    by_count = np.argsort([len(members) for members in rows.members])
    batch = {k: v[by_count[[0, 1, -2, -1]]] for k, v in stacked(rows).items()}
    padding = rows.padding()
    batch = {k: np.concatenate([v, np.stack([padding[k]] * 4)]) for k, v in batch.items()}
    counts = [p.sum() for p in np.split(batch["pairs"], 4)]
    assert counts[0] != counts[1] > 0 == counts[2] == counts[3]  # two micro-batches have no pair at all
    whole, whole_sums, whole_grads = gradients(graphdef, params, micro(batch, 1), objective)
    split, split_sums, split_grads = gradients(graphdef, params, micro(batch, 4), objective)
    assert whole_sums.pairs == split_sums.pairs == sum(counts)
    np.testing.assert_allclose(split, whole, rtol=1e-5)
    assert tiny.close(split_grads, whole_grads)
    # The trap: averaging each micro-batch's mean gives something else.
    parts = [gradients(graphdef, params, micro({k: v[i : i + 2] for k, v in batch.items()}, 1), objective)[2]
             for i in (0, 2)]  # fmt: skip
    assert not tiny.close(jax.tree.map(lambda *g: sum(g) / 2, *parts), whole_grads, rtol=1e-2)


def test_prompt_tokens_have_exactly_no_weight():
    graphdef, params = tiny.model()
    objective = preference_objective(dataclasses.replace(OPTIONS, preference_loss="rpo"))
    batch = stacked(pack_pairs(pairs(8), arbitrary_reference(8), 64))
    other = {**batch, "targets": np.where(batch["weights"] == 0, 31 - batch["targets"], batch["targets"])}
    assert (other["targets"] != batch["targets"]).sum() > 20
    assert tiny.same_bits(
        gradients(graphdef, params, micro(batch, 1), objective),
        gradients(graphdef, params, micro(other, 1), objective),
    )


# -- scoring -----------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_what_else_is_scored_and_compile_once():
    graphdef, params = tiny.model()
    step = make_score_step(graphdef, OPTIONS.head_chunk, None)
    step.clear_cache()
    examples = tiny.examples(30)
    together = score(graphdef, params, examples, options=OPTIONS, pad_id=0)
    alone = [score(graphdef, params, [e], options=OPTIONS, pad_id=0).logprob[0] for e in examples[:5]]
    np.testing.assert_allclose(together.logprob[:5], alone, rtol=1e-5)
    assert together.logprob.dtype == np.float32
    assert (together.logprob < 0).all()
    assert together.length.tolist() == [len(e.response) for e in examples]
    assert together.tokens == sum(len(e.prompt) + len(e.response) - 1 for e in examples)
    assert together.padded_tokens % (4 * 64) == 0
    assert together.padded_tokens >= together.tokens
    assert step._cache_size() == 1
    long = SFTExample(query=0, prompt=(1,) * 64, response=(2, 3))
    mixed = score(graphdef, params, [long, examples[0]], options=OPTIONS, pad_id=0).logprob
    assert np.isnan(mixed).tolist() == [True, False]
    assert score(graphdef, params, [], options=OPTIONS, pad_id=0).logprob.shape == (0,)


def test_scores_on_a_mesh():
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    graphdef, params = tiny.model()
    expected, _ = reference_logprobs(graphdef, params, pairs(), options=OPTIONS, pad_id=0)
    sharded = shard_params(params, mesh)
    got, _ = reference_logprobs(graphdef, sharded, pairs(), options=OPTIONS, pad_id=0, mesh=mesh)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


# -- the stage ---------------------------------------------------------------------------------------


def test_it_learns_the_preference_and_says_what_it_did():
    graphdef, params = tiny.model()
    given = pairs(40)
    reference, scores = reference_logprobs(graphdef, params, given, options=OPTIONS, pad_id=0)
    seen = []
    options = dataclasses.replace(OPTIONS, epochs=12)
    result = run(given, reference, options=options, on_step=lambda s, t, m: seen.append(dict(m)))
    first, last, stats = seen[0], seen[-1], result.stats
    assert first["loss"] == pytest.approx(np.log(2), rel=1e-4)  # the policy is still its reference
    assert abs(first["reward_margin"]) < 1e-4
    assert abs(first["kl"]) < 1e-4
    assert last["loss"] < 0.3
    assert last["reward_margin"] > 1.0
    assert last["reward_accuracy"] == 1.0
    assert (
        last["chosen_logprob"] - first["chosen_logprob"]
        > last["rejected_logprob"] - first["rejected_logprob"]
    )
    assert stats.examples == 40
    assert stats.steps == len(seen) == 12 * -(-stats.rows // 4)
    assert sum(m["pairs"] for m in seen) == 480
    assert stats.tokens == 12 * scores.tokens
    assert stats.response_tokens == 12 * scores.length.sum() == sum(m["tokens"] for m in seen)
    assert stats.padded_tokens == stats.steps * 4 * 64
    assert stats.final_loss == last["loss"]
    for name in ("reward_margin", "reward_accuracy", "chosen_logprob", "rejected_logprob", "kl", "accuracy"):
        assert getattr(stats, name) == pytest.approx(np.mean([m[name] for m in seen])), name
    # Held-out pairs are told apart too, by the policy's own log-probabilities.
    unseen = pairs(30, seed=7)
    before, _ = reference_logprobs(graphdef, params, unseen, options=OPTIONS, pad_id=0)
    after, _ = reference_logprobs(graphdef, result.params, unseen, options=OPTIONS, pad_id=0)
    margin = (after - before) @ np.array([1.0, -1.0])
    assert (margin > 0).mean() > 0.8


def test_simpo_needs_no_reference():
    options = dataclasses.replace(OPTIONS, preference_loss="simpo", beta=2.0)
    graphdef, params = tiny.model()
    seen = []
    results = [
        train_preferences(
            graphdef, params, pairs(), reference, options=options, seed=3, pad_id=0,
            on_step=lambda step, total, metrics: seen.append(metrics),
        )
        for reference in (None, arbitrary_reference())
    ]  # fmt: skip
    assert tiny.same_bits(results[0].params, results[1].params)
    assert seen[-1]["loss"] < seen[0]["loss"]
    assert seen[-1]["kl"] == 0


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not(unbroken):
    assert tiny.same_bits(run(options=MANY_STEPS).params, unbroken[0].params)
    assert not tiny.same_bits(run(options=MANY_STEPS, seed=4).params, unbroken[0].params)


def test_the_step_compiles_once_over_epochs_and_rounds():
    step = make_train_step(tiny.model()[0], OPTIONS, None, preference_objective(OPTIONS))
    step.clear_cache()
    run(pairs(33, seed=5), params=run().params)  # another round: more steps, other rows
    assert step._cache_size() == 1


@pytest.mark.parametrize("micro", [0, 2])
def test_a_mesh_gives_the_same_losses(unbroken, micro):
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    options = dataclasses.replace(MANY_STEPS, micro_batch_size=micro)
    seen = []
    result = run(
        options=options,
        params=shard_params(tiny.model()[1], mesh),
        mesh=mesh,
        on_step=lambda step, total, metrics: seen.append(dict(metrics)),
    )
    for got, want in zip(seen, unbroken[1], strict=True):
        for name in want:
            assert got[name] == pytest.approx(want[name], rel=1e-4, abs=1e-5), name
    kernel = result.params["layers"]["gate"]["kernel"].get_value()
    assert kernel.addressable_shards[0].data.size * 4 == kernel.size


class Stop(Exception):
    pass


@pytest.mark.parametrize("cut", [1, 4])
def test_a_run_cut_between_steps_ends_in_the_same_bits(unbroken, cut, tmp_path):
    def on_step(step, total, metrics):
        if step == cut:
            raise Stop

    with pytest.raises(Stop):
        run(options=MANY_STEPS, checkpoints=TrainCheckpoints(tmp_path, seconds=0), on_step=on_step)
    seen = []
    note = lambda step, total, metrics: seen.append(step)  # noqa: E731
    result = run(options=MANY_STEPS, checkpoints=TrainCheckpoints(tmp_path), on_step=note)
    # The cut came before that step's checkpoint, so that step is done again.
    assert seen == list(range(cut, unbroken[0].stats.steps + 1))
    assert tiny.same_bits(result.params, unbroken[0].params)
    without_time = [
        dataclasses.replace(r.stats, seconds=0.0, device_seconds=0.0) for r in (result, unbroken[0])
    ]
    assert without_time[0] == without_time[1]


def test_a_checkpoint_of_another_reference_or_loss_is_not_used(tmp_path, caplog):
    def interrupt(step, total, metrics):
        raise InterruptedRunError("asked to stop")

    with pytest.raises(InterruptedRunError):
        run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=interrupt)
    seen = []
    note = lambda step, total, metrics: seen.append(step)  # noqa: E731
    run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=note)
    assert seen[0] == 2
    for other in (
        {"reference": arbitrary_reference(seed=2)},
        {"options": dataclasses.replace(OPTIONS, beta=0.2)},
    ):
        shutil.rmtree(tmp_path)  # a training that starts again removes what it does not use
        with pytest.raises(InterruptedRunError):
            run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=interrupt)
        seen.clear()
        caplog.clear()
        run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=note, **other)
        assert seen[0] == 1
        assert "starting again" in caplog.text


def test_pairs_have_their_own_learning_rate():
    """It is the only one that counts: the examples' may be anything."""
    rates = []
    note = lambda step, total, metrics: rates.append(metrics["learning_rate"])  # noqa: E731
    chosen = {"preference_learning_rate": 3e-3, "schedule": "constant", "warmup_fraction": 0.0}
    options = dataclasses.replace(OPTIONS, learning_rate=0.5, **chosen)
    result = run(options=options, on_step=note)
    assert set(rates) == {3e-3}
    again = run(options=dataclasses.replace(options, learning_rate=0.1))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), result.params, again.params))


def test_max_steps_ends_the_epochs_and_says_which_pairs_were_not_used():
    seen = []
    options = dataclasses.replace(MANY_STEPS, max_steps=1)
    stats = run(options=options, on_step=lambda step, total, m: seen.append((total, m["pairs"]))).stats
    assert seen == [(1, stats.examples)]
    assert stats.examples + len(stats.unseen) == 20 > stats.examples
    assert (stats.steps, stats.planned_steps) == (1, 2 * -(-stats.rows // 4))
    used = [pair for i, pair in enumerate(pairs()) if i not in stats.unseen]
    assert sum(len(pair.chosen) + len(pair.rejected) for pair in used) == stats.response_tokens


def test_divergence_is_caught():
    wild = dataclasses.replace(
        OPTIONS, preference_learning_rate=1e38, warmup_fraction=0.0, schedule="constant"
    )
    with pytest.raises(DivergedError, match=r"diverged at step 2 of \d+: loss .*(nan|inf)"):
        run(options=wild)


def test_batches_are_filled_up_with_rows_without_pairs():
    rows = pack_pairs(pairs(), arbitrary_reference(), 64)
    drawn = list(batches(rows, batch_size=4, epochs=2, seed=0))
    assert all(batch["reference"].shape == (4, 32, 2) for batch in drawn)
    assert sum(batch["pairs"].sum() for batch in drawn) == 40
    assert len(drawn) == 2 * -(-len(rows) // 4)
