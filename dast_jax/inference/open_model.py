"""Open a model, a data set and an engine, for commands that use a model without training it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dast_jax.data.fitting import fitting_queries
from dast_jax.data.mixture import load_training
from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.data.prompts import PromptBuilder
from dast_jax.models.device_defaults import resolved
from dast_jax.models.hub import resolve_adapter, resolve_model
from dast_jax.models.load import load_model
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.models.peft import open_adapter
from dast_jax.models.sharding import make_mesh
from dast_jax.models.tokenizer import Tokenizer
from dast_jax.records import Query
from dast_jax.runtime.ahead import one_after_another
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.verifiers.functions import Functions

__all__ = ["OpenModel", "QuerySet", "open_model", "open_queries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """A model that is ready to sample."""

    engine: Engine
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySet:
    """Queries whose zero-shot prompt fits the engine, ids of the `skipped` others, and their prompts."""

    queries: tuple[Query, ...]
    skipped: tuple[str, ...]
    prompts: PromptBuilder


@contextmanager
def open_model(model: ModelOptions, mesh: MeshOptions, sampling: SamplingOptions) -> Iterator[OpenModel]:
    """Load the model onto the mesh, ready to sample; its programs are compiled while data are read.

    Raises `UserError` for a model that cannot be used.
    """
    devices = make_mesh(mesh)
    model = resolved(model, devices.devices.flat[0].platform)
    loaded = load_model(
        resolve_model(model.path),
        dtype=model.dtype,
        compute_dtype=model.compute_dtype,
        mesh=devices,
        chat_template=model.chat_template,
        adapter=open_adapter(resolve_adapter(model.adapter), model.path) if model.adapter else None,
    )
    options = dataclasses.replace(sampling, group=sampling.group or min(8, sampling.trials))
    engine = Engine(loaded.graphdef, loaded.params, tokenizer=loaded.tokenizer, options=options, mesh=devices)
    with one_after_another() as ahead:
        engine.compile_ahead(ahead)
        yield OpenModel(engine=engine, tokenizer=loaded.tokenizer)


def open_queries(
    data: DataOptions, prompts: PromptOptions, model: OpenModel, functions: Functions, *, limit: int = 0
) -> QuerySet:
    """Load `data.train`, whose tasks may be names of the config's `functions`; with `limit`, that many of it.

    Raises `UserError` for data that cannot be used, or where no prompt fits.
    """
    builder = PromptBuilder(model.tokenizer, prompts, model.engine.max_prompt_length)
    loaded = load_training(data, functions)
    loaded = loaded[: limit or len(loaded)]
    queries, skipped = fitting_queries(loaded, builder.fits, data.train)
    return QuerySet(queries=queries, skipped=skipped, prompts=builder)
