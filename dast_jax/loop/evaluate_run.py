"""A run's policy on its evaluation sets or other data, with the run's own prompts and limits."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from dast_jax.config import RunConfig, build_config
from dast_jax.data.mixture import load_training
from dast_jax.data.own_exemplars import read_exemplars
from dast_jax.data.prompts import PromptBuilder
from dast_jax.errors import UserError
from dast_jax.inference.evaluate_model import evaluate_opened
from dast_jax.inference.open_model import OpenModel
from dast_jax.inference.options import EvaluateOptions
from dast_jax.loop.chosen_round import choose_round
from dast_jax.loop.context import EVALUATE, stage_key
from dast_jax.loop.policy import BASE, Policy
from dast_jax.records import Query
from dast_jax.runtime.progress import OnProgress, silent
from dast_jax.sampling.engine import Engine
from dast_jax.store.evaluation_results import Metrics
from dast_jax.store.run_store import RunStore

__all__ = ["evaluate_run"]

log = logging.getLogger(__name__)


def evaluate_run(
    folder: Path, options: EvaluateOptions, data: str | None = None, *, on_progress: OnProgress = silent
) -> dict[str, Metrics]:
    """Evaluate the policy after `options.round` of the run in `folder`; return the metrics by set.

    `data` is one of the run's evaluation sets by name, or another source; by default each of its sets is
    evaluated. `options` are the run's with what the caller changes. With none of that, the responses are
    those of the run's own evaluation. Raises `UserError` where there is no such run, round or data.
    """
    store = RunStore.read(folder)
    config = build_config(store.config)
    config = dataclasses.replace(
        config,
        model=options.model,
        mesh=dataclasses.replace(config.mesh, **vars(options.mesh)),
        prompts=options.prompts,
        verifier=options.verifier,
    )
    round = BASE if options.round == "base" else choose_round(store, options.round)
    if round != BASE:
        store.check(f"{round:02d}/train")
    sets = _sets(config, data, folder)
    policy = Policy(config, store.path / "checkpoints")
    sampling = options.evaluation.sampling(options.sampling)
    sampling = dataclasses.replace(sampling, group=sampling.group or min(8, sampling.trials))
    engine = Engine(
        policy.sampling_graphdef,
        policy.for_sampling(round),
        tokenizer=policy.tokenizer,
        options=sampling,
        mesh=policy.sampling_mesh,
    )
    model = OpenModel(engine=engine, tokenizer=policy.tokenizer)
    solved = _solved(config, options, model)
    name = "M_0" if round == BASE else f"round {round}"
    log.info("%s: evaluating %s", folder, name)
    places = list(config.evaluation.sets)
    found = {}
    for label, source in sets.items():
        place = places.index(label) if label in places else len(places)
        read = dataclasses.replace(config.data.for_evaluation(limit=0), train=source)
        metrics = evaluate_opened(
            model,
            dataclasses.replace(options, data=read),
            solved,
            key=stage_key(config.run.seed, round, EVALUATE + place),
            title=f"{name}: evaluating {label}",
            on_progress=on_progress,
        )
        found[label] = dataclasses.replace(metrics, model=f"{folder}, {name}")
    return found


def _sets(config: RunConfig, data: str | None, folder: Path) -> dict[str, str]:
    """Return the sets to evaluate, label → source."""
    if data is not None:
        return {data: config.evaluation.sets.get(data, data)}
    if not config.evaluation.sets:
        raise UserError(f"{folder}: the run has no evaluation sets; name data with --data")
    return dict(config.evaluation.sets)


def _solved(config: RunConfig, options: EvaluateOptions, model: OpenModel) -> tuple[Query, ...]:
    """Return the problems that exemplars are taken from: a file's, else those that the run trains on."""
    if not options.evaluation.exemplars:
        return ()
    functions = options.verifier.functions
    if options.prompts.exemplars:
        return read_exemplars(options.prompts.exemplars, functions)
    builder = PromptBuilder(model.tokenizer, options.prompts, model.engine.max_prompt_length)
    return tuple(query for query in load_training(config.data, functions) if builder.fits(query.question))
