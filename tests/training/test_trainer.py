"""The training stage: it learns, it is deterministic, it resumes to the same bits, it stops when it must."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_training as tiny
from flax import nnx
from jax.sharding import PartitionSpec as P

from dast_jax.errors import DivergedError, InterruptedRunError, UserError
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, shard_params
from dast_jax.records import SFTExample
from dast_jax.runtime import interruption
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.optimizer import learning_rate
from dast_jax.training.step import init_optimizer, make_train_step
from dast_jax.training.trainer import train


def run(examples=None, *, options=tiny.OPTIONS, seed=3, params=None, **others):
    graphdef, initial = tiny.model()
    params = initial if params is None else params
    examples = tiny.examples() if examples is None else examples
    return train(graphdef, params, examples, options=options, seed=seed, pad_id=0, **others)


@pytest.fixture(scope="module")
def unbroken():
    """The result of a whole run and its losses."""
    losses = []
    result = run(on_step=lambda step, total, metrics: losses.append(metrics["loss"]))
    return result, losses


def test_it_learns_and_says_what_it_did(unbroken):
    result, losses = unbroken
    stats = result.stats
    examples = tiny.examples()
    assert stats.examples == 24
    assert stats.skipped == ()
    assert stats.steps == len(losses) == 2 * -(-stats.rows // 4)
    assert stats.tokens == 2 * sum(len(e.prompt) + len(e.response) - 1 for e in examples)
    assert stats.response_tokens == 2 * sum(len(e.response) for e in examples)
    assert stats.padded_tokens == stats.steps * 4 * 32
    assert stats.final_loss == losses[-1] < losses[0]
    assert stats.mean_loss == pytest.approx(np.mean(losses))
    assert 0 < stats.accuracy < 1

    longer = run(options=dataclasses.replace(tiny.OPTIONS, epochs=25))
    assert longer.stats.final_loss < 1.0 < losses[0]


def test_max_steps_ends_the_epochs_and_says_what_was_not_used():
    """Against what each step itself counts, with the examples told apart by their number of tokens."""
    options = dataclasses.replace(tiny.OPTIONS, max_steps=1)
    seen = []
    stats = run(options=options, on_step=lambda step, total, m: seen.append((step, total, m["tokens"]))).stats
    assert [(step, total) for step, total, _ in seen] == [(1, 1)]
    assert (stats.steps, stats.planned_steps) == (1, 2 * -(-stats.rows // 4))
    assert stats.response_tokens == sum(tokens for *_, tokens in seen)
    examples = tiny.examples()
    used = [e for i, e in enumerate(examples) if i not in stats.unseen]
    assert stats.examples == len(used) == 24 - len(stats.unseen) < 24
    assert sum(len(e.response) for e in used) == stats.response_tokens
    assert sum(len(e.prompt) + len(e.response) - 1 for e in used) == stats.tokens
    assert stats.padded_tokens == 4 * 32


def test_a_limit_beyond_the_epochs_changes_nothing(unbroken):
    result = run(options=dataclasses.replace(tiny.OPTIONS, max_steps=10_000))
    assert tiny.same_bits(result.params, unbroken[0].params)
    assert result.stats.steps == result.stats.planned_steps == unbroken[0].stats.steps
    assert result.stats.unseen == ()


def test_the_schedule_spans_the_steps_that_are_made():
    """Two epochs cut to the length of one are that one epoch, bit for bit: warm-up and decay included."""
    one = dataclasses.replace(tiny.OPTIONS, epochs=1)
    whole = run(options=one)
    rates = []
    cut = run(
        options=dataclasses.replace(tiny.OPTIONS, epochs=2, max_steps=whole.stats.steps),
        on_step=lambda step, total, metrics: rates.append(metrics["learning_rate"]),
    )
    assert tiny.same_bits(cut.params, whole.params)
    assert cut.stats.unseen == ()
    assert (cut.stats.tokens, cut.stats.planned_steps) == (whole.stats.tokens, 2 * whole.stats.steps)
    expected = [learning_rate(one, step, whole.stats.steps) for step in range(whole.stats.steps)]
    assert rates == expected
    assert len(set(rates)) > 1


def test_a_cut_training_resumes_to_the_same_bits(tmp_path, caplog):
    options = dataclasses.replace(tiny.OPTIONS, max_steps=4)
    whole = run(options=options)
    with pytest.raises(Stop):
        run(options=options, checkpoints=TrainCheckpoints(tmp_path, seconds=0), on_step=stop_at(3))
    seen = []
    result = run(
        options=options,
        checkpoints=TrainCheckpoints(tmp_path, seconds=1e9),
        on_step=lambda step, total, m: seen.append((step, total)),
    )
    assert seen == [(3, 4), (4, 4)]
    assert tiny.same_bits(result.params, whole.params)
    same = {"steps", "tokens", "response_tokens", "unseen", "examples", "mean_loss"}
    assert {k: getattr(result.stats, k) for k in same} == {k: getattr(whole.stats, k) for k in same}
    with pytest.raises(Stop):
        run(options=options, checkpoints=TrainCheckpoints(tmp_path / "b", seconds=0), on_step=stop_at(3))
    run(checkpoints=TrainCheckpoints(tmp_path / "b", seconds=0))  # another limit: another training
    assert "starting again" in caplog.text


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not(unbroken):
    assert tiny.same_bits(run().params, unbroken[0].params)
    assert not tiny.same_bits(run(seed=4).params, unbroken[0].params)


def test_the_caller_keeps_its_parameters():
    before = jax.tree.map(np.array, tiny.model()[1])
    run()
    assert tiny.same_bits(before, tiny.model()[1])


def test_the_step_compiles_once_over_epochs_and_rounds():
    step = make_train_step(tiny.model()[0], tiny.OPTIONS)
    step.clear_cache()
    run(tiny.examples(40), params=run().params)  # another round: more steps, other rows
    assert step._cache_size() == 1


@pytest.mark.parametrize("micro", [0, 2])
def test_a_mesh_gives_the_same_losses_and_really_splits(unbroken, micro):
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    params = shard_params(tiny.model()[1], mesh)
    options = dataclasses.replace(tiny.OPTIONS, micro_batch_size=micro)
    losses = []
    step = make_train_step(tiny.model()[0], options, mesh)
    step.clear_cache()
    result = run(
        options=options,
        params=params,
        mesh=mesh,
        on_step=lambda step, total, metrics: losses.append(metrics["loss"]),
    )
    np.testing.assert_allclose(losses, unbroken[1], rtol=1e-5)
    for tree in (params, result.params):
        layers = tree["layers"]
        assert layers["gate"]["kernel"].get_value().sharding.spec == P(None, "fsdp", "tensor")
        for path in (("q", "kernel"), ("k", "kernel"), ("o", "kernel"), ("up", "kernel"), ("down", "kernel")):
            array = layers[path[0]][path[1]].get_value()
            assert array.addressable_shards[0].data.size * 4 == array.size, path
        assert tree["embedding"].get_value().addressable_shards[0].data.shape == (16, 8)
    state = init_optimizer(options, params, mesh)
    moments = [x for x in jax.tree.leaves(state) if x.ndim == 4]
    assert len(moments) == 8  # mu and nu of q, k, v, o
    assert all(x.addressable_shards[0].data.size * 4 == x.size for x in moments)
    assert step._cache_size() == 1


def test_moments_stay_split_after_a_step(tmp_path):
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    kept = []

    class Spy(TrainCheckpoints):
        def save(self, step, state, meta):
            kept.append(state[1])

    run(params=shard_params(tiny.model()[1], mesh), mesh=mesh, checkpoints=Spy(tmp_path, seconds=0))
    moments = [x for x in jax.tree.leaves(kept[-1]) if x.ndim == 4]
    assert len(moments) == 8
    assert all(x.addressable_shards[0].data.size * 4 == x.size for x in moments)


def test_rows_that_do_not_divide_over_the_mesh_are_refused():
    mesh = make_mesh(MeshOptions(data=2, fsdp=2))
    with pytest.raises(UserError, match=r"2 rows cannot be split over mesh\.data x mesh\.fsdp = 4 devices"):
        run(options=dataclasses.replace(tiny.OPTIONS, micro_batch_size=2), mesh=mesh)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(UserError, match="0 examples"):
        run([])
    long = SFTExample(query=0, prompt=(1,) * 40, response=(2,))
    with pytest.raises(UserError, match=r"1 examples, 1 of them longer than training\.sequence_length=32"):
        run([long])
    stats = run([*tiny.examples(5), long]).stats
    assert stats.skipped == (5,)
    assert stats.examples == 5


class Stop(Exception):
    pass


def stop_at(step):
    def on_step(done, total, metrics):
        if done == step:
            raise Stop

    return on_step


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_run_cut_between_steps_ends_in_the_same_bits(unbroken, cut, tmp_path):
    with pytest.raises(Stop):
        run(checkpoints=TrainCheckpoints(tmp_path, seconds=0), on_step=stop_at(cut))
    seen = []
    result = run(
        checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=lambda step, total, m: seen.append(step)
    )
    # The cut came before that step's checkpoint, so that step is done again.
    assert seen == list(range(cut, unbroken[0].stats.steps + 1))
    assert tiny.same_bits(result.params, unbroken[0].params)
    same = {"final_loss", "mean_loss", "accuracy", "steps", "tokens"}
    assert {k: getattr(result.stats, k) for k in same} == {k: getattr(unbroken[0].stats, k) for k in same}


@pytest.mark.parametrize(("save_seconds", "saved"), [(0.0, True), (100.0, False)])
def test_a_signal_leaves_the_state_of_that_step_if_a_save_fits_the_grace_period(
    save_seconds, saved, unbroken, tmp_path, caplog
):
    checkpoints = TrainCheckpoints(tmp_path, seconds=1e9, grace_seconds=60)
    checkpoints.save_seconds = save_seconds

    def on_step(done, total, metrics):
        if done == 2:
            interruption.request(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(checkpoints=checkpoints, on_step=on_step)
    assert interruption.is_settled()
    assert ("stopped after step 2 without saving it: a checkpoint takes 100.0 s" in caplog.text) is not saved
    seen = []
    note = lambda step, total, metrics: seen.append(step)  # noqa: E731
    result = run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=note)
    assert seen[0] == (3 if saved else 1)
    assert tiny.same_bits(result.params, unbroken[0].params)


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adafactor"}, {"optimizer": "muon", "moment_dtype": "bfloat16"}]
)
def test_other_optimizers_resume_to_the_same_bits_and_run_on_a_mesh(changes, tmp_path):
    """Their states have other shapes than the parameters, and holes where Muon leaves a leaf to Adam."""
    options = dataclasses.replace(tiny.OPTIONS, **changes)
    whole = run(options=options)
    with pytest.raises(Stop):
        run(options=options, checkpoints=TrainCheckpoints(tmp_path, seconds=0), on_step=stop_at(3))
    seen = []
    note = lambda step, total, metrics: seen.append(step)  # noqa: E731
    resumed = run(options=options, checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=note)
    assert seen[0] == 3
    assert tiny.same_bits(resumed.params, whole.params)
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    split = run(options=options, params=shard_params(tiny.model()[1], mesh), mesh=mesh)
    assert split.stats.final_loss == pytest.approx(whole.stats.final_loss, rel=1e-4)
    assert tiny.close(split.params, whole.params, rtol=1e-3)


def test_an_interruption_saves_first(unbroken, tmp_path):
    def on_step(step, total, metrics):
        if step == 3:
            raise InterruptedRunError("asked to stop")

    with pytest.raises(InterruptedRunError):
        run(checkpoints=TrainCheckpoints(tmp_path, seconds=1e9), on_step=on_step)
    seen = []
    result = run(checkpoints=TrainCheckpoints(tmp_path), on_step=lambda step, total, m: seen.append(step))
    assert seen[0] == 4
    assert tiny.same_bits(result.params, unbroken[0].params)


def test_a_checkpoint_of_other_examples_is_not_used(tmp_path, caplog):
    with pytest.raises(Stop):
        run(checkpoints=TrainCheckpoints(tmp_path, seconds=0), on_step=stop_at(3))
    other = tiny.examples(seed=1)
    result = run(other, checkpoints=TrainCheckpoints(tmp_path, seconds=0))
    assert "belongs to other examples" in caplog.text
    assert tiny.same_bits(result.params, run(other).params)


def test_a_killed_process_ends_in_the_same_bits(unbroken, tmp_path):
    """SIGKILL at four moments, some of them inside a save; then the same command to the end."""
    script = Path(__file__).with_name("train_child.py")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, str(script), str(tmp_path / "state"), str(tmp_path / "result.npz")]
    killed_after = []
    for delay in (0.0, 0.03):  # the first kill comes at the step's end, the second while it is being saved
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        lines = iter(child.stdout.readline, "")
        next(lines)
        killed_after.append(int(next(lines).split()[1]))
        time.sleep(delay)
        child.kill()
        assert child.wait() == -9
    assert not (tmp_path / "result.npz").exists()
    assert killed_after[1] > killed_after[0] - 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    got = np.load(tmp_path / "result.npz")
    want = {"/".join(p): np.asarray(v.get_value()) for p, v in nnx.to_flat_state(unbroken[0].params)}
    assert set(got.files) == set(want)
    assert all(got[k].tobytes() == want[k].tobytes() for k in want)


def test_divergence_names_the_step_and_keeps_the_state_before_it(tmp_path):
    wild = dataclasses.replace(tiny.OPTIONS, learning_rate=1e38, warmup_fraction=0.0, schedule="constant")
    losses = []
    with pytest.raises(DivergedError, match=r"diverged at step 2 of \d+: loss .*(nan|inf)"):
        run(
            options=wild,
            checkpoints=TrainCheckpoints(tmp_path / "a", seconds=1e9),
            on_step=lambda step, total, metrics: losses.append(metrics["loss"]),
        )
    assert len(losses) == 1

    def interrupt(step, total, metrics):
        raise InterruptedRunError("here")

    with pytest.raises(InterruptedRunError):
        run(options=wild, checkpoints=TrainCheckpoints(tmp_path / "b", seconds=1e9), on_step=interrupt)
    like = (tiny.model()[1], init_optimizer(wild, tiny.model()[1]))
    (kept, meta), (expected, _) = (TrainCheckpoints(tmp_path / name).restore(like) for name in "ab")
    assert meta["progress"]["step"] == 1
    assert tiny.same_bits(kept, expected)
