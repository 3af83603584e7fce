"""What a run holds open between stages (policy, problems, engines, verifier), and what each stage does."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from dast_jax.config import RunConfig
from dast_jax.data.prompts import PromptBuilder
from dast_jax.estimators.difficulty import level_shares, levels_from_counts
from dast_jax.inference.evaluation import Outcome, evaluate, sample_rows, summarize
from dast_jax.loop.collect import CollectStage
from dast_jax.loop.length_probe import length_ratio
from dast_jax.loop.model_tools import PolicyTools
from dast_jax.loop.policy import BASE, Policy
from dast_jax.loop.problems import EvaluationSet, load_problems
from dast_jax.loop.training import Learner
from dast_jax.methods import make_method
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops, sampling_flops
from dast_jax.records import (
    LEVELS,
    FinishReason,
    PreferenceSet,
    Responses,
    StageKey,
    TrainingSet,
    VerdictKind,
)
from dast_jax.runtime.profiling import ProfileWindow
from dast_jax.runtime.progress import stage as progress_stage
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import SamplingStats, sample
from dast_jax.store import RunStore
from dast_jax.store.results import (
    BuildResult,
    DataFacts,
    EvalFile,
    EvaluationResult,
    EvaluationSource,
    LevelShares,
    RunFacts,
    SampledResult,
    SampleRow,
    SamplingResult,
    SetEvaluation,
    SetLevels,
    TrainedResult,
    TrainingResult,
    TrainingSource,
)
from dast_jax.study.sharing import Shared
from dast_jax.verifiers import Verifier

__all__ = ["Session"]

log = logging.getLogger(__name__)

_COLLECT, _LENGTH, _LABEL, _EVALUATE = range(4)
"""What the sampler is at within a round, as its noise sees it; evaluation set i is `_EVALUATE` + i."""


class Session:
    """Everything a run needs in memory. Each public method is one stage and returns that stage's facts."""

    def __init__(self, config: RunConfig, store: RunStore, verifier: Verifier, shared: Shared | None = None):
        self._config = config
        self._shared = shared
        self._store = store
        self._verifier = verifier
        self._policy = Policy(config, store.path / "checkpoints")
        self._sampler = self._engine(config.sampling)
        self._prompts = PromptBuilder(self._policy.tokenizer, config.prompts, self._sampler.max_prompt_length)
        self._problems = load_problems(config, self._prompts.fits)
        self._evaluator = self._engine(self._evaluation_sampling())
        self._pool = self._problems.pool
        self._method = make_method(config.method, self._pool, config.run.seed, PolicyTools(self._policy))
        self._carried: Responses | None = None
        self._profile = ProfileWindow(store.path / "profile") if config.profile else None

    def facts(self) -> RunFacts:
        """Return what is known before the first stage: sizes, sources, what was skipped."""
        problems = self._problems
        return RunFacts(
            parameters=self._policy.parameters,
            mesh=dict(self._policy.mesh.shape),
            data=DataFacts(
                train=TrainingSource(
                    source=problems.source, queries=len(self._pool), skipped=tuple(problems.skipped)
                ),
                evaluation={
                    name: EvaluationSource(
                        source=s.source,
                        queries=len(s.queries),
                        skipped=tuple(s.skipped),
                        contaminated=s.overlap,
                    )
                    for name, s in problems.evaluation.items()
                },
            ),
        )

    # -- stages ----------------------------------------------------------------------------------

    def evaluate_base(self) -> EvaluationResult:
        """Evaluate M_0 on every set; where asked, let its trials label the sets that have no levels."""
        for dataset in self._problems.evaluation.values():
            self._label(dataset)
        return self._evaluate_policy(BASE, "base")

    def begin(self, round: int) -> None:
        """Bring the method to the start of `round`, from what the rounds before it left in the run."""
        if self._store.is_done(f"{round:02d}/build"):
            self._method.restore(self._store.read_arrays(self._state_path(round)))
            return
        begun = self._store.exists(_begun_state(round))
        if begun:
            self._method.restore(self._store.read_arrays(_begun_state(round)))
        elif round:
            self._method.restore(self._store.read_arrays(self._state_path(round - 1)))
        earlier = [self._store.response_log(r).responses() for r in self._method.wanted_rounds(round)]
        self._carried = self._method.start_round(round, Responses.concatenate([Responses.none(), *earlier]))
        if not begun:  # what an endpoint said (tags) is not asked again: it may answer otherwise
            self._store.write_arrays(_begun_state(round), self._method.state())

    def sample(self, round: int) -> SampledResult:
        """Collect the round's verified responses with the policy that the last round left."""
        assert self._carried is not None
        self._sampler.set_params(self._policy.after(round - 1))
        shortened_before = self._prompts.shortened
        with (
            self._store.response_log(round) as log_,
            progress_stage(f"round {round}: sampling") as bar,
        ):
            stage = CollectStage(
                method=self._method,
                pool=self._pool,
                carried=self._carried,
                build_prompt=self._prompts.build,
                verifier=self._verifier,
                log=log_,
                round=round,
                shared=self._shared.trials if self._shared and round == 0 else None,
            )

            def show() -> None:
                requested, finished, correct = stage.counts
                bar.update(finished, total=requested, info=f"{correct} correct")

            def progress(_: SamplingStats) -> None:
                show()
                if self._profile:
                    self._profile.step("sample")

            work = sample(self._sampler, stage, key=self._key(round, _COLLECT), progress=progress)
            show()
        if self._profile:
            self._profile.close()
        _rest(self._sampler)
        if self._shared:
            self._shared.trials.save()
        responses = self._store.response_log(round).responses()
        shortened = self._prompts.shortened - shortened_before
        if shortened:
            log.warning(
                "round %d: %d prompts show fewer exemplars than asked for, to fit sampling.prompt_buckets",
                round,
                shortened,
            )
        if stage.hintless:
            log.warning("round %d: %d hints left out, to fit sampling.prompt_buckets", round, stage.hintless)
        notes = {**self._method.notes(), "shortened_prompts": shortened, "hints_left_out": stage.hintless}
        return SampledResult(
            sampling=_sampling_result(responses, self._method.levels(), notes),
            flops=sampling_flops(self._policy.parameters, work),
        )

    def build(self, round: int) -> BuildResult:
        """Let the method make the round's training set, and keep it with the method's state."""
        assert self._carried is not None
        own = self._store.response_log(round).responses()
        everything = Responses.concatenate([self._carried, own])
        training_set = self._method.training_set(everything)
        if len(everything) and not everything.correct.any():
            log.warning(
                "round %d: none of %d responses was correct; the round trains on %s",
                round,
                len(everything),
                _what_is_left(training_set),
            )
        self._store.write_training_set(round, self._pool, training_set)
        self._store.write_arrays(_built_state(round), self._method.state())
        levels = self._method.levels()
        shares = None
        if levels is not None:
            self._store.write_difficulty(round, self._pool, levels, own)
            shares = LevelShares(before=level_shares(levels), after=level_shares(levels, training_set.query))
        return BuildResult(
            level_shares=shares, shortfall=dict(training_set.shortfall), method=dict(self._method.facts())
        )

    def train(self, round: int) -> TrainedResult:
        """Train on the round's set, from the last policy or from M_0, and keep the result."""
        training_set = self._store.read_training_set(round)
        if len(training_set):
            trained = self._learn(round, training_set)
        else:
            log.warning("round %d: nothing to train on; the policy stays as it is", round)
            self._policy.put(self._policy.after(round - 1), round)
            trained = TrainedResult(training=TrainingResult(), flops=Flops())
        self._method.after_training(trained.training.accuracy or 0.0)
        self._store.write_arrays(_trained_state(round), self._method.state())
        return dataclasses.replace(trained, method=dict(self._method.facts()))

    def _learn(self, round: int, training_set: TrainingSet | PreferenceSet) -> TrainedResult:
        given, method = self._config.training, self._method
        options = dataclasses.replace(
            given,
            start=method.start if given.start == "method" else given.start,
            preference_loss=(
                method.preference_loss if given.preference_loss == "method" else given.preference_loss
            ),
        )
        learner = Learner(
            policy=self._policy,
            store=self._store,
            prompts=self._prompts,
            pool=self._pool,
            options=options,
            seed=self._config.run.seed,
        )
        with progress_stage(f"round {round}: training") as bar:

            def on_step(step: int, total: int, metrics: Any) -> None:
                bar.update(step, total=total, info=f"loss {metrics['loss']:.3f}")
                self._store.log_metrics("train", round=round, step=step, **metrics)
                if self._profile:
                    self._profile.step("train")

            start = BASE if options.start == "restart" else round - 1
            learnt = learner.learn(round, training_set, start, on_step)
        if self._profile:
            self._profile.close()
        return learnt

    def evaluate(self, round: int) -> EvaluationResult:
        """Evaluate the policy that the round's training made."""
        if round != self._config.run.rounds and not self._config.evaluation.every_round:
            return EvaluationResult(evaluation={}, paired={}, length_ratio=None, flops=Flops())
        return self._evaluate_policy(round, f"{round:02d}")

    # -- evaluation ------------------------------------------------------------------------------

    def _evaluate_policy(self, round: int, directory: str) -> EvaluationResult:
        params = self._policy.after(round)
        title = "M_0" if round == BASE else f"round {round}"
        entries: dict[str, SetEvaluation] = {}
        rows: list[SampleRow] = []
        work: list[SamplingStats] = []
        self._evaluator.set_params(params)
        for i, (name, dataset) in enumerate(self._problems.evaluation.items()):
            labels = self._labels(dataset)
            outcome = self._run_set(
                self._evaluator,
                dataset,
                self._config.evaluation.trials,
                self._key(round, _EVALUATE + i),
                f"{title}: evaluating {name}",
            )
            entries[name] = summarize(outcome, labels)
            rows += sample_rows(name, outcome, labels)
            work.append(outcome.sampling)
            self._store.log_metrics("evaluation", round=round, set=name, accuracy=entries[name].accuracy)
        _rest(self._evaluator)
        ratio, probe = self._length_ratio(round, params)
        self._store.write_result(
            f"rounds/{directory}/eval.json",
            EvalFile(sets=entries, samples=tuple(rows), length_ratio=ratio),
        )
        return EvaluationResult(
            evaluation={name: entry.entry for name, entry in entries.items()},
            paired={} if round == BASE else self._paired(entries),
            length_ratio=ratio,
            flops=sampling_flops(self._policy.parameters, *work, *probe),
        )

    def _run_set(
        self, engine: Engine, dataset: EvaluationSet, trials: int, key: StageKey, title: str
    ) -> Outcome:
        with progress_stage(title) as bar:
            return evaluate(
                engine,
                dataset.queries,
                [self._prompts.build(query.question, ()) for query in dataset.queries],
                verifier=self._verifier,
                key=key,
                trials=trials,
                on_progress=lambda done, total: bar.update(done, total=total),
            )

    def _paired(self, entries: dict[str, SetEvaluation]) -> dict[str, stats.PairedDifference]:
        """Return, by set, the paired difference of accuracies between this policy and M_0."""
        base = self._store.read_result(EvalFile, "rounds/base/eval.json").sets
        trials = self._config.evaluation.trials
        return {
            name: stats.paired_difference(
                np.asarray(entry.correct) / trials, np.asarray(base[name].correct) / trials
            )
            for name, entry in entries.items()
        }

    def _length_ratio(self, round: int, params: Any) -> tuple[float | None, list[SamplingStats]]:
        self._sampler.set_params(params)
        ratio, work = length_ratio(
            self._sampler,
            self._pool,
            self._method.levels(),
            self._prompts.build,
            queries=self._config.evaluation.length_probe,
            key=self._key(round, _LENGTH),
        )
        _rest(self._sampler)
        return ratio, [work] if work else []

    def _labels(self, dataset: EvaluationSet) -> list[str | None]:
        """Levels of a test set: the data's own, else those of M_0's trials where the config asks for them."""
        path = _labels_path(dataset)
        if dataset.labelled or not self._store.exists(path):
            return [query.level for query in dataset.queries]
        return list(self._store.read_result(SetLevels, path).levels)

    def _label(self, dataset: EvaluationSet) -> None:
        """Let M_0's trials give a level to each query of a set that comes without."""
        trials = self._config.evaluation.level_trials
        if not trials or dataset.labelled:
            return
        self._sampler.set_params(self._policy.after(BASE))
        title = f"M_0: levels of {dataset.name}"
        outcome = self._run_set(self._sampler, dataset, trials, self._key(BASE, _LABEL), title)
        _rest(self._sampler)
        levels = [LEVELS[level] for level in levels_from_counts(outcome.correct, trials)]
        self._store.write_result(_labels_path(dataset), SetLevels(trials=trials, levels=tuple(levels)))

    # -- helpers ---------------------------------------------------------------------------------

    def _evaluation_sampling(self) -> SamplingOptions:
        """Without the buckets that only few-shot prompts need: a shorter cache decodes faster."""
        options = self._config.evaluation.sampling(self._config.sampling)
        questions = [q.question for s in self._problems.evaluation.values() for q in s.queries]
        longest = max((len(self._prompts.build(question, ())) for question in questions), default=0)
        needed = next(bucket for bucket in options.buckets if bucket >= longest)
        return dataclasses.replace(
            options, prompt_buckets=tuple(bucket for bucket in options.buckets if bucket <= needed)
        )

    def _engine(self, options: SamplingOptions) -> Engine:
        """An engine, or that of an earlier run of the same model and options: its programs are compiled."""
        policy = self._policy
        engines = self._shared.engines if self._shared else {}
        name = (self._config.model, policy.graphdef, options, policy.mesh)
        if name not in engines:
            engines[name] = Engine(
                policy.graphdef,
                policy.after(BASE),
                tokenizer=policy.tokenizer,
                options=options,
                mesh=policy.mesh,
            )
        return engines[name]

    def _key(self, round: int, stage: int) -> StageKey:
        return StageKey(seed=self._config.run.seed, round=round + 1, stage=stage)  # BASE is −1; keys are ≥ 0

    def _state_path(self, round: int) -> str:
        """The method's state as the last finished stage of `round` left it."""
        trained = self._store.is_done(f"{round:02d}/train") and self._store.exists(_trained_state(round))
        return _trained_state(round) if trained else _built_state(round)


def _rest(engine: Engine) -> None:
    """Let go of the weights and the caches until the engine's next stage."""
    engine.set_params(None)
    engine.release()


def _what_is_left(training_set: TrainingSet | PreferenceSet) -> str:
    """What a round trains on that has no correct response."""
    if not len(training_set):
        return "nothing"
    pairs = isinstance(training_set, PreferenceSet)
    return f"{'pairs with ' if pairs else ''}reference solutions alone"


def _begun_state(round: int) -> str:
    return f"rounds/{round:02d}/method_begun.npz"


def _built_state(round: int) -> str:
    return f"rounds/{round:02d}/method.npz"


def _trained_state(round: int) -> str:
    """Apart from the other, so that a training stage that is run again finds what it started from."""
    return f"rounds/{round:02d}/method_trained.npz"


def _labels_path(dataset: EvaluationSet) -> str:
    return f"rounds/base/levels_{dataset.name}.json"


def _sampling_result(
    responses: Responses, levels: np.ndarray | None, notes: dict[str, int]
) -> SamplingResult:
    by_verdict = np.bincount(responses.verdict, minlength=len(VerdictKind)).tolist()
    mean_length: dict[str, float | None] = {}
    if levels is not None:
        of_level = levels[responses.query]
        mean_length = {
            name: float(responses.length[of_level == i].mean()) if (of_level == i).any() else None
            for i, name in enumerate(LEVELS)
        }
    return SamplingResult(
        trials=len(responses),
        **dict(zip(map(str, VerdictKind), by_verdict, strict=True)),
        truncated=int((responses.finish == tuple(FinishReason).index(FinishReason.LENGTH)).sum()),
        tokens=int(responses.length.sum()),
        mean_length_by_level=mean_length,
        notes=notes,
    )
