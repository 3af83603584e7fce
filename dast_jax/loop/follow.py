"""What the processes after the first do in a run on several: what process 0 says, until it ends the run.

They hold their part of the weights, caches and optimizer state, and call the same compiled programs in the
same order. They read the model's files, and write and read their part of checkpoints where they see the run
directory of process 0; everything else in it is process 0's.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from dast_jax.config import RunConfig
from dast_jax.distributed.group import current
from dast_jax.distributed.messages import split
from dast_jax.errors import EndedError, UserError
from dast_jax.loop.context import make_engine
from dast_jax.loop.lead import (
    agree_on_folder,
    examples_of,
    pairs_of,
    same_keys,
    sees_mark,
    training_folder,
)
from dast_jax.loop.policy import Policy
from dast_jax.models.embed import mean_pooled
from dast_jax.models.options import ModelOptions
from dast_jax.options import build
from dast_jax.records import StageKey
from dast_jax.runtime import interruption
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import reference_logprobs, train_preferences
from dast_jax.training.trainer import train

__all__ = ["follow"]

Values = dict[str, Any]


def follow(config: RunConfig) -> None:
    """Do what process 0 says until it ends the run.

    Raises `EndedError` with its exit code unless the run has finished.
    """
    logging.getLogger("dast_jax").setLevel(logging.ERROR)  # process 0 logs the same
    group = current()
    assert group is not None
    follower = _Follower(config)
    try:
        while True:
            name, values = group.hear()
            getattr(follower, name)(**values)
    except EndedError as end:
        if end.exit_code:
            raise


class _Follower:
    """One method for each thing that process 0 says."""

    def __init__(self, config: RunConfig):
        self._config = config
        self._run = Path(config.run.dir).expanduser()
        self._engines: dict[int, Engine] = {}
        self._policy: Policy
        self._held: Any = None

    # --- opening ------------------------------------------------------------------------------------

    def open(self, keys: dict[str, str], model: Values, mark: str) -> None:
        """Load the base model, for a config that says the same as that of process 0.

        `model` has the options of the model with what was chosen when the run began, `mark` what process 0
        has written into the run's folder.
        """
        agree_on_folder(sees_mark(self._run, mark))
        mine = same_keys(self._config)
        differing = sorted(key for key in {*keys, *mine} if keys.get(key) != mine.get(key))
        if differing:
            raise UserError(
                f"{', '.join(differing)}: not the same as at process 0; run the same command on every host"
            )
        config = dataclasses.replace(self._config, model=build(ModelOptions, model))
        self._policy = Policy(config, self._run / "checkpoints")

    def model(self, digest: str) -> None:
        """Compare the base model with that of process 0."""
        if self._policy.base_digest != digest:
            raise UserError(
                f"model.path: the files of {self._config.model.path} are not those of process 0; "
                "copy them to every host"
            )

    # --- the policy ---------------------------------------------------------------------------------

    def after(self, round: int) -> None:
        """Hold the weights after a round."""
        self._held = self._policy.after(round)

    def for_sampling(self, round: int) -> None:
        """Hold the weights after a round as the sampler reads them."""
        self._held = self._policy.for_sampling(round)

    def trained(self, round: int) -> None:
        """Hold the part of the weights after a round that training changes."""
        self._held = self._policy.trained(round)

    def take(self, round: int) -> None:
        """Hold alone what training changes, which the next call trains."""
        self._held = None
        self._held = self._policy.take(round)

    def put(self, round: int) -> None:
        """Keep what is held, the result of the training or what there was before."""
        self._policy.put(self._held, round)

    def finish(self) -> None:
        """Wait until what was kept last is durable, which may take longer than a signal leaves otherwise."""
        interruption.settle()
        self._policy.finish()

    def train(self, options: Values, seed: int, **columns: Any) -> None:
        """Train what is held."""
        policy = self._policy
        common: Values = {
            "options": build(TrainingOptions, options),
            "seed": seed,
            "pad_id": policy.tokenizer.pad_id,
            "mesh": policy.mesh,
            "checkpoints": TrainCheckpoints(training_folder(self._run)),
            "donate": True,
            "frozen": policy.frozen,
        }
        params, self._held = self._held, None
        if "chosen" in columns:
            reference = columns.get("reference")
            result = train_preferences(policy.graphdef, params, pairs_of(columns), reference, **common)
        else:
            result = train(policy.graphdef, params, examples_of(columns), **common)
        self._held = result.params

    def score(self, options: Values, **columns: Any) -> None:
        """Score pairs, for the collectives in it; process 0 has the result too."""
        reference_logprobs(
            self._policy.graphdef,
            self._held,
            pairs_of(columns),
            options=build(TrainingOptions, options),
            pad_id=self._policy.tokenizer.pad_id,
            mesh=self._policy.mesh,
        )

    def embed(self, tokens: Any, lengths: Any) -> None:
        """Embed texts, as `score` scores pairs."""
        mean_pooled(self._policy.graphdef, self._held, split(tokens, lengths), mesh=self._policy.mesh)

    # --- sampling -----------------------------------------------------------------------------------

    def engine(self, engine: int, options: Values) -> None:
        """Make an engine."""
        self._engines[engine] = make_engine(self._policy, build(SamplingOptions, options))

    def set_params(self, engine: int, given: bool) -> None:
        """Give an engine the weights that are held, or none."""
        self._engines[engine].set_params(self._held if given else None)

    def release(self, engine: int) -> None:
        """Free an engine's caches."""
        self._engines[engine].release()

    def start(self, engine: int, key: Values) -> None:
        """Begin a stage."""
        self._engines[engine].start(StageKey(**key))

    def prefill(
        self,
        engine: int,
        bucket: int,
        tokens: Any,
        lengths: Any,
        rows: list[int],
        parts: list[int] | None,
    ) -> None:
        """Run prompts."""
        self._engines[engine].prefill(bucket, split(tokens, lengths), rows, parts)

    def insert(self, engine: int, columns: Any, temperatures: list[float | None] | None) -> None:
        """Begin responses."""
        slots, rows, queries, trials = columns.tolist()
        self._engines[engine].insert(slots, rows, queries, trials, temperatures)

    def decode(self, engine: int, live: Any) -> None:
        """Run a tick."""
        self._engines[engine].decode(live)
