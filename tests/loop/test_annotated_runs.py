"""Whole runs whose method needs annotations of the queries, asked of a real HTTP server."""

import dataclasses
import json

import numpy as np
import pytest

from dast_jax.config import RunConfig, build_config, config_dict, config_path
from dast_jax.data.sources import load_queries
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.loop.selftrain import run
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.records import Pool
from dast_jax.store.run_store import RunStore
from tests.helpers_chat_server import KEY, VARIABLE, serve

__all__ = ["serve"]


def config(folder, server, cache):
    """Return a small SAI-DPO run that asks `server` for tags."""
    tagger = {"endpoint": server.url, "model": "m", "key_variable": VARIABLE, "cache": cache, "retries": 0}
    sai = {"name": "sai_dpo", "clusters": 3, "probe": 0.5, "trials": 3, "draw": 4, "warm_up": False}
    overrides = (
        f"run.dir={folder}",
        "run.rounds=0",
        "data.limit=8",
        "evaluation.sets={}",
        "sampling.max_new_tokens=16",
        "sampling.slots=4",
        "training.batch_size=2",
        "training.epochs=1",
        "logging.tensorboard=false",
        "mesh.cpu_data=0",
    )
    mapping = {**load_yaml(config_path("quickstart")), "method": {**sai, "tagger": tagger}}
    return build_config(apply_overrides(mapping, overrides))


def _stored(settings: RunConfig) -> dict[str, np.ndarray]:
    pool = Pool(load_queries(settings.data.train, options=settings.data))
    return RunStore.read(settings.run.dir).read_annotations(pool)


def test_a_resumed_run_keeps_its_tags_though_the_endpoint_has_changed_its_mind(serve, tmp_path, monkeypatch):
    """The endpoint would answer otherwise: the run continues with the clusters that it began with."""
    replies = {"mood": lambda question: (200, "even" if len(question) % 2 == 0 else "odd")}
    server = serve(lambda question, _: replies["mood"](question))
    settings = config(tmp_path / "run", server, "")
    whole = RunStore.mark_done

    def killed(store, name, result, **facts):
        if name == "00/build":
            raise InterruptedRunError("stopped by the test")
        whole(store, name, result, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "mark_done", killed)
        with pytest.raises(InterruptedRunError):
            run(settings)
    store = RunStore.read(tmp_path / "run")
    begun = _stored(settings)["cluster"]
    assert len(set(begun.tolist())) == 2
    responses = store.response_log(0).responses()
    asked = len(server.asked)
    replies["mood"] = lambda _: (500, b"")
    run(settings)
    assert len(server.asked) == asked
    np.testing.assert_array_equal(_stored(settings)["cluster"], begun)
    assert len(store.response_log(0).responses()) == len(responses)  # nothing was drawn anew
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in written)
    queries = list(load_queries(settings.data.train, options=settings.data))
    queries[2] = dataclasses.replace(queries[2], id="another")
    with pytest.raises(UserError, match=r"annotations.parquet: belongs to other queries"):
        store.read_annotations(Pool(tuple(queries)))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"name": "dast", "estimator": "judge"}, r"method\.judge\.endpoint: must be set"),
        ({"name": "dast", "estimator": "label"}, r"method\.estimator label: none of the queries has a level"),
        ({"name": "sai_dpo", "tagger": {"model": ""}}, r"method\.tagger\.model: must be set"),
        ({"name": "sai_dpo", "clusters": 9}, r"method\.clusters: 9 clusters, but there are 8 queries"),
        ({"name": "sai_dpo", "clusters": 2, "probe": 0.01}, r"method\.probe: .* less than one query"),
    ],
)
def test_what_is_missing_is_reported_before_anything_is_requested_or_sampled(serve, tmp_path, method, words):
    server = serve(lambda *_: (200, "tag"))
    mapping = config_dict(config(tmp_path / "run", server, ""))
    if method["name"] == "sai_dpo":
        method = {
            **mapping["method"],
            **method,
            "tagger": {**mapping["method"]["tagger"], **method.get("tagger", {})},
        }
    if method.get("estimator") == "label":
        problems = [{"question": f"1 + {i}?", "answer": i + 1, "solution": f"#### {i + 1}"} for i in range(8)]
        (tmp_path / "plain.jsonl").write_text("\n".join(map(json.dumps, problems)))
        mapping["data"]["train"] = str(tmp_path / "plain.jsonl")
    with pytest.raises(UserError, match=words):
        run(build_config({**mapping, "method": method}))
    assert server.asked == []
    assert not RunStore.read(tmp_path / "run").stages
