"""What a run holds open between its stages, and how it is opened."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from dast_jax.config import RunConfig
from dast_jax.data.own_exemplars import read_exemplars, shown
from dast_jax.data.prompts import PromptBuilder
from dast_jax.distributed.group import current, tell
from dast_jax.errors import UserError
from dast_jax.loop.lead import LeadingEngine, same_keys, tell_open
from dast_jax.loop.policy import BASE, Policy
from dast_jax.loop.problems import Problems, load_problems, queries_digest
from dast_jax.models.layout import check_divides, replicated
from dast_jax.models.options import AUTOMATIC as OF_DEVICE
from dast_jax.models.options import ModelOptions
from dast_jax.options import to_dict
from dast_jax.records import Pool, Query, SamplingStats, StageKey
from dast_jax.runtime.profiling import ProfileWindow
from dast_jax.runtime.progress import OnProgress, silent
from dast_jax.sampling import scheduler
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import AUTOMATIC, SamplingOptions
from dast_jax.store.results import DataFacts, EvaluationSource, RunFacts, TrainingSource
from dast_jax.store.run_store import RunStore
from dast_jax.verifiers import Verifier

__all__ = [
    "COLLECT",
    "EVALUATE",
    "LABEL",
    "LENGTH",
    "PROBE",
    "Context",
    "Tools",
    "check_same_inputs",
    "facts",
    "make_engine",
    "open_context",
    "rest",
    "stage_key",
]

log = logging.getLogger(__name__)

COLLECT, LENGTH, LABEL, EVALUATE = range(4)
"""The sampling stages within a round, as numbers that enter the noise; evaluation set i is `EVALUATE` + i."""

PROBE = 2**20
"""The stage of the zero-shot probe, above all evaluation sets; the few-shot one is the next."""


def make_engine(policy: Policy, options: SamplingOptions) -> Engine:
    """Return a sampling engine for the policy's model, which leads those of other processes."""
    group = current()
    kind = LeadingEngine if group is not None and group.leads else Engine
    return kind(
        policy.sampling_graphdef,
        policy.for_sampling(BASE),
        tokenizer=policy.tokenizer,
        options=options,
        mesh=policy.sampling_mesh,
    )


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a run samples with. A caller with many runs may pass others that give the same results."""

    make_engine: Callable[[Policy, SamplingOptions], Engine] = make_engine
    sample: Callable[..., SamplingStats] = scheduler.sample


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a run holds open: its config and files, the policy, the queries, the two engines, the verifier.

    `sampler` is the engine of the rounds' responses, `evaluator` that of the evaluation sets; `exemplars` are
    those of `prompts.exemplars`. `compiling` are programs, by name, that are compiled before they are needed.
    """

    config: RunConfig
    store: RunStore
    verifier: Verifier
    policy: Policy
    prompts: PromptBuilder
    problems: Problems
    exemplars: tuple[Query, ...] = ()
    sampler: Engine
    evaluator: Engine
    sample: Callable[..., SamplingStats] = scheduler.sample
    on_progress: OnProgress = silent
    profile: ProfileWindow | None = None
    compiling: dict[str, Future[Any]] = field(default_factory=dict)

    @property
    def pool(self) -> Pool:
        """The training queries, without annotations."""
        return self.problems.pool

    def evaluation_prompt(self, question: str) -> tuple[int, ...]:
        """Return the prompt of a question of an evaluation set, with `evaluation.exemplars` before it."""
        return _evaluation_prompt(self.config, self.prompts, self.problems, self.exemplars, question)


def open_context(
    config: RunConfig, store: RunStore, verifier: Verifier, *, tools: Tools, on_progress: OnProgress = silent
) -> Context:
    """Load the model and the queries, and make the engines. Raises `UserError` for what cannot be used."""
    keys = same_keys(config)
    config = dataclasses.replace(config, model=_with_kept_model(config.model, store))
    tell_open(keys, config.model, store.path)
    policy = Policy(config, store.path / "checkpoints")
    _choose(store, "model", policy.options, OF_DEVICE, config.model)
    _check_layout(config, policy)
    sampler = tools.make_engine(policy, _with_kept_shapes(config.sampling, store))
    sampling = sampler.options
    _choose(store, "sampling", sampling, AUTOMATIC, config.sampling)
    prompts = PromptBuilder(policy.tokenizer, config.prompts, sampler.max_prompt_length)
    problems = load_problems(config, prompts.fits)
    exemplars = read_exemplars(config.prompts.exemplars, config.verifier.functions)
    evaluator = tools.make_engine(
        policy, _evaluation_sampling(config, sampling, prompts, problems, exemplars)
    )
    for engine in (sampler, evaluator):  # each stage sets the weights it samples from
        engine.set_params(None)
    return Context(
        config=config,
        store=store,
        verifier=verifier,
        policy=policy,
        prompts=prompts,
        problems=problems,
        exemplars=exemplars,
        sampler=sampler,
        evaluator=evaluator,
        sample=tools.sample,
        on_progress=on_progress,
        profile=ProfileWindow(store.path / "profile") if config.profile else None,
    )


def facts(context: Context) -> RunFacts:
    """Return what is known before the first stage: sizes, sources, skipped queries."""
    problems = context.problems
    digest = context.policy.base_digest
    tell("model", digest=digest)
    return RunFacts(
        parameters=context.policy.parameters,
        model_digest=digest,
        model_revision=context.policy.revision,
        trained_parameters=context.policy.trained_parameters,
        device=_device(context.policy),
        mesh=dict(context.policy.mesh.shape),
        sampling_mesh=dict(context.policy.sampling_mesh.shape),
        data=DataFacts(
            train=TrainingSource(
                source=problems.source,
                queries=len(problems.pool),
                skipped=tuple(problems.skipped),
                digest=queries_digest((*problems.pool.queries, *context.exemplars)),
            ),
            evaluation={
                name: EvaluationSource(
                    source=dataset.source,
                    queries=len(dataset.queries),
                    skipped=tuple(dataset.skipped),
                    digest=queries_digest(dataset.queries),
                    contaminated=len(dataset.contamination.exact),
                    contamination=dataset.contamination,
                )
                for name, dataset in problems.evaluation.items()
            },
        ),
    )


def check_same_inputs(before: RunFacts | None, now: RunFacts, config: RunConfig) -> None:
    """Raise `UserError` where the run was started from another model or with other queries.

    Its responses belong to those.
    """
    if before is None:
        return
    if before.model_digest != now.model_digest:
        template = " or model.chat_template" if config.model.chat_template else ""
        raise UserError(
            f"model.path: the files of {config.model.path}{template} are not those that the run was started "
            "from; restore them, or start a new run in another run.dir"
        )
    train = "data.train" + (" or prompts.exemplars" if config.prompts.exemplars else "")
    sources = {train: (before.data.train, now.data.train)}
    for name, source in now.data.evaluation.items():
        if name in before.data.evaluation:
            sources[f"evaluation.sets.{name}"] = (before.data.evaluation[name], source)
    for key, (old, new) in sources.items():
        if old.digest != new.digest:
            raise UserError(
                f"{key}: {new.source} does not hold the queries that the run was started with "
                f"({old.queries:,} then, {new.queries:,} now); restore the data, or start a new run in "
                "another run.dir"
            )


def _device(policy: Policy) -> str:
    """Return the count, platform and kind of the mesh's devices."""
    devices = policy.mesh.devices.flatten()
    first = devices[0]
    where = f"{os.cpu_count()} CPU cores" if first.platform == "cpu" else first.device_kind
    return f"{len(devices)} x {first.platform} ({where})"


def stage_key(seed: int, round: int, stage: int) -> StageKey:
    """Return the name that a sampling stage's noise depends on; `round` may be `BASE`."""
    return StageKey(seed=seed, round=round + 1, stage=stage)  # BASE is −1; keys are ≥ 0


def rest(engine: Engine) -> None:
    """Release the weights and the caches until the engine's next stage."""
    engine.set_params(None)
    engine.release()


def _check_layout(config: RunConfig, policy: Policy) -> None:
    """Refuse rows that the mesh does not divide, before any stage; name what is whole on each device."""
    training, mesh = config.training, policy.mesh
    micro = training.micro_batch_size
    if micro and training.batch_size % micro:
        raise UserError(
            f"training.micro_batch_size={micro} does not divide training.batch_size={training.batch_size}: "
            "choose a divisor"
        )
    key = "training.micro_batch_size" if micro else "training.batch_size"
    check_divides(key, micro or training.batch_size, mesh, "packed rows")
    lines = replicated(policy.config, mesh)
    if policy.sampling_mesh != mesh:
        lines += replicated(policy.config, policy.sampling_mesh, "mesh.sampling")
        log.info(
            "training on %s, sampling on %s, one copy of the weights a round",
            *(dict(layout.shape) for layout in (mesh, policy.sampling_mesh)),
        )
    for line in lines:
        log.warning("%s", line)


def _choose(store: RunStore, section: str, chosen: Any, names: Sequence[str], given: Any) -> None:
    """Write the options that were chosen to the run's config; log those that the config left open."""
    values = {name: to_dict(chosen)[name] for name in names}
    store.choose({f"{section}.{name}": value for name, value in values.items()})
    open_ = {name: value for name, value in values.items() if value != to_dict(given)[name]}
    if open_:
        log.info("chosen: %s", ", ".join(f"{section}.{name}={value}" for name, value in open_.items()))


def _with_kept_model(options: ModelOptions, store: RunStore) -> ModelOptions:
    """Return `options` with what was chosen when the run began, where they leave it open."""
    kept = store.config.get("model", {})
    # Earlier versions had true and false for remat, which is chosen anew.
    left = {
        name: kept[name]
        for name in OF_DEVICE
        if isinstance(kept.get(name), str) and getattr(options, name) == "auto"
    }
    return dataclasses.replace(options, **left)


def _with_kept_shapes(options: SamplingOptions, store: RunStore) -> SamplingOptions:
    """Return `options` with the shapes that were chosen when the run began, where they are left open."""
    kept = store.config.get("sampling", {})
    values = {name: kept[name] for name in AUTOMATIC if kept.get(name) and not getattr(options, name)}
    shapes: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return dataclasses.replace(options, **shapes)


def _evaluation_prompt(
    config: RunConfig, prompts: PromptBuilder, problems: Problems, own: Sequence[Query], question: str
) -> tuple[int, ...]:
    solved = own or problems.pool.queries
    return prompts.build(question, shown(solved, config.evaluation.exemplars, question))


def _evaluation_sampling(
    config: RunConfig,
    sampling: SamplingOptions,
    prompts: PromptBuilder,
    problems: Problems,
    exemplars: Sequence[Query],
) -> SamplingOptions:
    """Return the shapes of `sampling` without buckets that only few-shot prompts need, and small groups."""
    options = config.evaluation.sampling(sampling)
    questions = [q.question for s in problems.evaluation.values() for q in s.queries]
    built = (_evaluation_prompt(config, prompts, problems, exemplars, question) for question in questions)
    longest = max(map(len, built), default=0)
    needed = next(bucket for bucket in options.buckets if bucket >= longest)
    return dataclasses.replace(
        options,
        prompt_buckets=tuple(bucket for bucket in options.buckets if bucket <= needed),
        group=options.group or min(8, options.trials),
    )
