"""Pretrains the embedded base model: a small Llama on the corpus of `corpus.py`, from one seed.

The learning rate warms up, stays constant and falls linearly to zero over the last steps, so a run can
be ended early from any checkpoint (edit STAGES, `--resume FILE`). On Linux one core is used, because the
order in which sums are added up depends on their number: the same kind of processor gives the same bits.

    python launch/make_assets/pretrain.py --out base/
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import pickle
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # before jax counts the cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
import optax
from corpus import CorpusOptions, packed_rows
from flax import nnx
from generate import Decoder
from problems import LARGE, SEED, SMALL, Problem, draw_problem, is_for
from tokenizer import build_tokenizer, save_tokenizer

from dast_jax.models.hf import save_model
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.models.tokenizer import load_tokenizer

CONFIG = LlamaConfig(
    vocab_size=0,  # the tokenizer's
    hidden_size=128,
    intermediate_size=384,
    num_layers=4,
    num_heads=4,
    num_kv_heads=4,
    head_dim=32,
    tie_word_embeddings=True,
    max_position_embeddings=2048,
)
MATRIX_AXES = {  # of a stacked kernel: (reduced axes, output axes) of the matrix that Muon orthogonalizes
    "q": (1, (2, 3)),
    "k": (1, (2, 3)),
    "v": (1, (2, 3)),
    "o": ((1, 2), 3),
    "gate": (1, 2),
    "up": (1, 2),
    "down": (1, 2),
}


WARMUP = 200


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps up to `until`, each on `rows` rows of `length` tokens; in the last `decay` the rate falls."""

    until: int
    rows: int
    length: int
    corpus: CorpusOptions
    decay: int = 0


# Short rows first, because attention over long ones is most of their cost on a CPU; then rows that hold
# four exemplars and a query. The first stage learns to write questions too, the others only solutions.
_EARLY = CorpusOptions(
    problems=((1, 70), (2, 30)),
    operations=((1, 14), (2, 14), (3, 14), (4, 14), (5, 18), (6, 16), (7, 6), (8, 4)),
    small=0.5,
    division=0.04,
    questions=True,
)
STAGES = (
    Stage(until=800, rows=12, length=160, corpus=_EARLY),
    Stage(until=2000, rows=12, length=160, corpus=dataclasses.replace(_EARLY, questions=False)),
    Stage(until=2450, rows=4, length=512, corpus=CorpusOptions()),
    Stage(until=2700, rows=4, length=512, corpus=CorpusOptions(bare=0.04), decay=700),
)


def batches(rows: Iterator, size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(tokens, segments, positions, trained), int32 [size, T] each, without end."""
    while True:
        group = list(itertools.islice(rows, size))
        names = ("tokens", "segments", "positions", "trained")
        yield tuple(np.concatenate([getattr(r, name) for r in group]) for name in names)


def leaf_names(state: nnx.State) -> list[str]:
    """Dotted names of the parameters ("layers.q.kernel"), in the order of the flattened state."""
    paths, _ = jax.tree.flatten_with_path(state)
    return [".".join(str(part.key) for part in path if hasattr(part, "key")) for path, _ in paths]


def make_optimizer(kind: str, schedule: optax.Schedule, names: list[str]) -> optax.GradientTransformation:
    """AdamW, or Muon for the layers' matrices and Adam for embedding and norms, on a list of leaves."""
    matrices = [MATRIX_AXES.get(name.split(".")[1]) if "kernel" in name else None for name in names]
    decayed = [matrix is not None for matrix in matrices]
    if kind == "adamw":
        inner = optax.adamw(schedule, b1=0.9, b2=0.98, weight_decay=0.05, mask=decayed)
    else:
        inner = optax.contrib.muon(
            schedule,
            weight_decay=0.05,
            weight_decay_mask=decayed,
            adam_b2=0.98,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=[m and optax.contrib.MuonDimensionNumbers(*m) for m in matrices],
        )
    return optax.chain(optax.clip_by_global_norm(1.0), inner)


def make_step(graphdef, treedef, optimizer):
    """Return the compiled step (leaves, opt_state, batch) -> (leaves, opt_state, mean loss per token)."""

    def loss(leaves, batch):
        tokens, segments, positions, trained = batch
        model = nnx.merge(graphdef, jax.tree.unflatten(treedef, leaves))
        hidden = model(tokens, positions, segments)
        logits = model.logits(hidden[:, :-1])
        weights = (segments[:, 1:] == segments[:, :-1]) & (trained[:, 1:] > 0)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return jnp.sum(nll * weights) / jnp.sum(weights)

    def step(leaves, opt_state, batch):
        value, grads = jax.value_and_grad(loss)(leaves, batch)
        updates, opt_state = optimizer.update(grads, opt_state, leaves)
        return optax.apply_updates(leaves, updates), opt_state, value

    return jax.jit(step, donate_argnums=(0, 1))


class Probe:
    """Greedy zero-shot accuracy by stratum and operations, on questions of the pretraining share."""

    CELLS = (
        ("small", SMALL, 0, (1, 3, 5, 6)),
        ("large", LARGE, 0, (1, 3, 6)),
        ("division", LARGE, 1, (1, 6)),
        ("divisions", LARGE, 2, (6,)),
        ("long", SMALL, 0, (8,)),
    )

    def __init__(self, decoder: Decoder, per_cell: int = 32):
        rng = random.Random("probe")
        self.decoder, self.per_cell = decoder, per_cell
        self.problems = [
            problem
            for _, limit, divisions, sizes in self.CELLS
            for operations in sizes
            for problem in self._draw(rng, operations, limit, divisions)
        ]

    def _draw(self, rng: random.Random, operations: int, limit: int, divisions: int) -> list[Problem]:
        found: list[Problem] = []
        while len(found) < self.per_cell:
            problem = draw_problem(rng, operations, limit, divisions)
            if is_for(problem.question, "pretraining"):
                found.append(problem)
        return found

    def __call__(self, params) -> str:
        self.decoder.engine.set_params(params)
        prompts = [f"Q: {p.question}\nA:" for p in self.problems]
        texts = [rollout.text for (rollout,) in self.decoder(prompts)]
        self.decoder.engine.set_params(None)
        right = [t.endswith(f"#### {p.answer}") for t, p in zip(texts, self.problems, strict=True)]
        shares = iter(np.reshape(right, (-1, self.per_cell)).mean(1))
        parts = [
            f"{name} " + "/".join(f"{100 * next(shares):.0f}" for _ in sizes)
            for name, _, _, sizes in self.CELLS
        ]
        example = texts[6 * self.per_cell]
        return "  ".join(parts) + f"  e.g. {self.problems[6 * self.per_cell].question} {example!r}"


def learning_rate_schedule(peak: float) -> optax.Schedule:
    """Warm-up, constant, and the last stage's linear fall to zero."""
    last = STAGES[-1]
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, WARMUP),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, last.decay),
        ],
        [WARMUP, last.until - last.decay],
    )


def save_checkpoint(file: Path, state: tuple[int, list[jax.Array], optax.OptState]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps(jax.device_get(state)))
    temporary.rename(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--probe-every", type=int, default=500)
    parser.add_argument("--resume", type=Path, help="a checkpoint that this script wrote")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    (args.out / "model").mkdir(parents=True, exist_ok=True)

    tokenizer = build_tokenizer(args.seed)
    config = dataclasses.replace(
        CONFIG,
        vocab_size=len(tokenizer),
        eos_token_ids=(tokenizer.eos_token_id,),
        pad_token_id=tokenizer.pad_token_id,
    )
    graphdef, initial = nnx.split(Llama(config, rngs=nnx.Rngs(args.seed)))
    names = leaf_names(initial)
    leaves, treedef = jax.tree.flatten(initial)
    print(dict(zip(names, (x.shape for x in leaves), strict=True)), sum(x.size for x in leaves), "parameters")
    optimizer = make_optimizer(args.optimizer, learning_rate_schedule(args.learning_rate), names)
    index, opt_state = 0, optimizer.init(leaves)
    if args.resume:
        index, leaves, opt_state = pickle.loads(args.resume.read_bytes())
    step = make_step(graphdef, treedef, optimizer)
    save_tokenizer(tokenizer, args.out / "model")
    probe = Probe(Decoder(graphdef, initial, load_tokenizer(args.out / "model")))
    losses: list[jax.Array] = []
    trained, began = 0, time.monotonic()
    for stage in STAGES:
        if index >= stage.until:
            continue
        rows = packed_rows(
            tokenizer.backend_tokenizer,
            tokenizer.eos_token_id,
            stage.length,
            seed=f"{args.seed} corpus {index}",
            options=stage.corpus,
        )
        for batch in itertools.islice(batches(rows, stage.rows), stage.until - index):
            leaves, opt_state, loss = step(leaves, opt_state, batch)
            index += 1
            losses.append(loss)
            trained += int(np.count_nonzero(batch[1]))
            if index % 50 == 0:
                mean, speed = np.mean(jax.device_get(losses)), trained / (time.monotonic() - began)
                losses = []
                print(
                    f"step {index}  loss {mean:.4f}  {trained / 1e6:.2f} M tokens  {speed:.0f}/s", flush=True
                )
            if index % args.probe_every == 0 or index == stage.until:
                print(f"step {index}  {probe(jax.tree.unflatten(treedef, leaves))}", flush=True)
                save_checkpoint(args.out / f"checkpoint-{index}.pkl", (index, leaves, opt_state))
    save_model(args.out / "model", config, jax.tree.unflatten(treedef, leaves))
    print(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
