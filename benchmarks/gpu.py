"""SFT, DPO and sampling of a 1.2 B Llama on one GPU, next to transformers and torch on the same card.

    python -m benchmarks.gpu [--work sft dpo sampling] [--no-peer]    on the card
    python -m benchmarks.gpu --tiny                                   the same code, small, also on a CPU

The model has the shape of Llama-3.2-1B and random bfloat16 weights. Prints one JSON line per work: seconds,
useful tokens per second, the share of the card's bfloat16 peak (`dast_jax.metrics.devices`) that the model's
FLOPs are (MFU; 6 or 2 per weight and token, and attention), of sampling also the share of the measured copy
bandwidth that decoding needs at least (the weights once a step, the cache of each response), and the ratio to
the peer. Compilation is excluded. Every run is repeated and the median kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["main"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The sizes of the three works.

    rows × length: packed tokens of an SFT step; pairs of a DPO step, each with a prompt and two responses;
    prompts × trials of `new` tokens.
    """

    vocab: int
    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rows: int
    length: int
    example: int
    pairs: int
    prompt: int
    response: int
    prompts: int
    trials: int
    new: int
    repeat: int


LLAMA_1B = Size(
    vocab=128_256, hidden=2048, mlp=8192, layers=16, heads=32, kv_heads=8, head_dim=64,
    rows=4, length=4096, example=512, pairs=16, prompt=256, response=256,
    prompts=64, trials=8, new=512, repeat=3,
)  # fmt: skip
TINY = Size(
    vocab=128, hidden=32, mlp=64, layers=2, heads=2, kv_heads=1, head_dim=16,
    rows=2, length=64, example=16, pairs=2, prompt=8, response=8, prompts=2, trials=2, new=8, repeat=1,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, one JSON line per work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model, in seconds also on a CPU")
    parser.add_argument("--work", nargs="+", default=["sft", "dpo", "sampling"], help="which")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers and torch out")
    parser.add_argument("--only-peer", action="store_true", help="tokens per second of the peer alone")
    args = parser.parse_args(argv)
    size = TINY if args.tiny else LLAMA_1B
    works: dict[str, Callable[[Size], dict[str, Any]]] = {"sft": _sft, "dpo": _dpo, "sampling": _sampling}
    if args.only_peer:
        print(json.dumps({name: PEERS[name](size) for name in args.work if name in PEERS}))
        return
    # The peer comes first, in a process of its own: each side has the card's memory for itself.
    theirs = {} if args.no_peer else _peer(args.tiny, args.work)
    for name in args.work:
        found = works[name](size)
        if name in theirs:
            found |= {"peer": "transformers", "peer_tokens_per_s": round(theirs[name], 1)}
            found["ratio"] = round(found["tokens_per_s"] / theirs[name], 3)
        print(json.dumps({"benchmark": f"gpu.{name}", **found}), flush=True)


def _peer(tiny: bool, work: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--only-peer", "--work", *work]
    command += ["--tiny"] if tiny else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


# --- ours ---------------------------------------------------------------------------------------------


def _model(size: Size, remat: bool = False) -> tuple[Any, Any, Any, int]:
    """Return config, graph, random bfloat16 parameters on the device, and the number of weights."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from dast_jax.models.llama import Llama, LlamaConfig

    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_layers=size.layers,
        num_heads=size.heads,
        num_kv_heads=size.kv_heads,
        head_dim=size.head_dim,
        rope_theta=500_000.0,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        eos_token_ids=(1,),
    )
    dtype = jnp.dtype("bfloat16")

    def make() -> Llama:
        return Llama(
            config, dtype=dtype, param_dtype=dtype, remat="full" if remat else "none", rngs=nnx.Rngs(0)
        )

    graphdef, _ = nnx.split(nnx.eval_shape(make))
    params = jax.jit(lambda: nnx.split(make())[1])()
    return config, graphdef, params, sum(leaf.size for leaf in jax.tree.leaves(params))


def _sft(size: Size) -> dict[str, Any]:
    """Return the rate of a step on packed rows."""
    from dast_jax.data.packing import batches, pack
    from dast_jax.records import SFTExample
    from dast_jax.training.step import SFTObjective

    random = np.random.default_rng(0)
    examples = [
        SFTExample(query=i, prompt=_tokens(random, size, half), response=_tokens(random, size, half + 1))
        for i in range(size.rows * size.length // size.example)
        for half in (size.example // 2,)
    ]
    rows = pack(examples, size.length)
    options = _options(size, size.rows)
    host = next(batches(rows, batch_size=size.rows, epochs=1, seed=0))
    return _train(size, options, SFTObjective(head_chunk=options.head_chunk), host, rows.tokens)


def _dpo(size: Size) -> dict[str, Any]:
    """Return the rate of a step on pairs, with their reference log-probabilities at hand."""
    from dast_jax.data.packing import batches
    from dast_jax.data.pair_packing import pack_pairs
    from dast_jax.records import PreferencePair
    from dast_jax.training.preference import preference_objective

    random = np.random.default_rng(0)
    pairs = [
        PreferencePair(
            query=i,
            prompt=_tokens(random, size, size.prompt),
            chosen=_tokens(random, size, size.response),
            rejected=_tokens(random, size, size.response),
        )
        for i in range(size.pairs)
    ]
    length = min(size.length, 2 * (size.prompt + size.response))
    rows = pack_pairs(pairs, np.zeros((size.pairs, 2), np.float32), length)
    options = _options(size, len(rows))
    host = next(batches(rows, batch_size=len(rows), epochs=1, seed=0))
    return _train(size, options, preference_objective(options), host, rows.tokens)


def _train(size: Size, options: Any, objective: Any, host: Any, tokens: int) -> dict[str, Any]:
    """Return the rate of a step; activations are recomputed only where the card has too little memory."""
    try:
        return _steps(size, options, objective, host, tokens, remat=False)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
    return _steps(size, options, objective, host, tokens, remat=True)


def _steps(
    size: Size, options: Any, objective: Any, host: Any, tokens: int, *, remat: bool
) -> dict[str, Any]:
    import jax

    from dast_jax.training.step import init_optimizer, make_train_step, put_batch

    _, graphdef, params, weights = _model(size, remat)
    batch = put_batch(host, options)
    optimizer = init_optimizer(options, params)
    step = make_train_step(graphdef, options, None, objective)
    seconds = []
    for _ in range(size.repeat + 1):
        start = time.perf_counter()
        params, optimizer, metrics = step(params, optimizer, batch, np.float32(1e-5))
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    flops = 6 * weights * tokens + 3 * _attention_flops(size, _segment_lengths(host))
    return {
        **_facts(median, tokens, flops),
        "compile_s": round(seconds[0] - median, 1),
        "loss": round(float(metrics.loss), 4),
        "remat": remat,
    }


def _sampling(size: Size) -> dict[str, Any]:
    """Return the rate of sampling responses that all reach the limit: random weights end none early."""
    from dast_jax.records import StageKey
    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.options import SamplingOptions
    from dast_jax.sampling.scheduler import StaticRequests, sample

    config, graphdef, params, weights = _model(size)
    options = SamplingOptions(
        slots=min(64, size.prompts * size.trials),
        prompt_buckets=(size.prompt,),
        max_new_tokens=size.new,
        min_new_tokens=size.new,
        temperature=0.8,
        top_p=0.95,
    )
    engine = Engine(graphdef, params, tokenizer=_NoText(), options=options)
    requests = _prompts(size)
    seconds = []
    for number in range(size.repeat + 1):
        start = time.perf_counter()
        stats = sample(engine, StaticRequests(requests, trials=size.trials), key=StageKey(0, number))
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    context = size.prompt + size.new / 2
    cache = 2 * 2 * config.num_layers * config.num_kv_heads * config.head_dim * context
    needed = 2 * weights * stats.decode_steps + cache * stats.generated_tokens
    found = _facts(median, stats.generated_tokens, 2 * weights * stats.generated_tokens)
    copy = _copy_bandwidth(size)
    return {
        **found,
        "compile_s": round(seconds[0] - median, 1),
        "used_slots": round(stats.used_slot_steps / stats.slot_steps, 3),
        "copy_bandwidth_gb_s": round(copy / 1e9, 1),
        "bandwidth_share": round(needed / median / copy, 4),
    }


class _NoText:
    """A tokenizer for text that is never read."""

    eos_ids = (1,)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return ""


def _options(size: Size, rows: int) -> Any:
    from dast_jax.training.options import TrainingOptions

    return TrainingOptions(
        batch_size=rows,
        sequence_length=size.length,
        preference_loss="sigmoid",
        head_chunk=min(512, size.length),
    )


def _facts(seconds: float, tokens: int, flops: float) -> dict[str, Any]:
    import jax

    from dast_jax.metrics.devices import peak_of

    device = jax.devices()[0]
    peak = peak_of(device.device_kind)
    return {
        "machine": f"1 x {device.device_kind}",
        "seconds": round(seconds, 4),
        "tokens_per_s": round(tokens / seconds, 1),
        "mfu": None if peak is None else round(flops / seconds / peak.flops, 4),
    }


def _attention_flops(size: Size, lengths: Sequence[int]) -> float:
    """Return the FLOPs of causal attention forward: two products over half of the square of each text."""
    return sum(2 * 2 * size.layers * size.heads * size.head_dim * n * n / 2 for n in lengths)


def _segment_lengths(host: Any) -> list[int]:
    found = []
    for row in host["segment_ids"]:
        _, counts = np.unique(row[row > 0], return_counts=True)
        found += counts.tolist()
    return found


def _copy_bandwidth(size: Size) -> float:
    """Return bytes per second of a copy on the device, read and write counted."""
    import jax
    import jax.numpy as jnp

    x = jnp.zeros(1 << (20 if size is TINY else 29), jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    copy(x).block_until_ready()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        copy(x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(seconds)


def _tokens(random: np.random.Generator, size: Size, n: int) -> tuple[int, ...]:
    return tuple(random.integers(2, size.vocab, n).tolist())


def _prompts(size: Size) -> list[tuple[int, ...]]:
    random = np.random.default_rng(0)
    return [_tokens(random, size, size.prompt) for _ in range(size.prompts)]


# --- the peer -----------------------------------------------------------------------------------------


def _torch_model(size: Size) -> tuple[Any, str]:
    """Return the same shape in torch, and its device; flash attention comes with SDPA on a card."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": size.vocab,
        "hidden_size": size.hidden,
        "intermediate_size": size.mlp,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "attn_implementation": "sdpa",
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model: Any = LlamaForCausalLM(LlamaConfig(**fields))
    return model.to(torch.bfloat16), device


def _timed(run: Callable[[], Any], repeat: int, device: str) -> float:
    import torch

    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _peer_sft(size: Size) -> float:
    """Return tokens/s of a step on the same number of examples of one length: no padding on its side."""
    import torch

    try:
        return _peer_steps(size, checkpointing=False)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return _peer_steps(size, checkpointing=True)


def _peer_steps(size: Size, *, checkpointing: bool) -> float:
    import torch

    model, device = _torch_model(size)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")
    rows = size.rows * size.length // size.example
    ids = torch.randint(2, size.vocab, (rows, size.example), device=device)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return float(rows * size.example / _timed(step, size.repeat, device))


def _peer_sampling(size: Size) -> float:
    """Return tokens/s of `generate` with all trials, at its best number of prompts a batch."""
    import torch

    model, device = _torch_model(size)
    model.eval()
    ids = torch.tensor(_prompts(size), device=device)
    rates = []
    for batch in (size.prompts, max(1, size.prompts // 4)):

        @torch.inference_mode()
        def run(batch: int = batch) -> None:
            for start in range(0, size.prompts, batch):
                model.generate(
                    ids[start : start + batch],
                    do_sample=True,
                    temperature=0.8,
                    top_p=0.95,
                    top_k=0,
                    num_return_sequences=size.trials,
                    max_new_tokens=size.new,
                    min_new_tokens=size.new,
                )

        rates.append(size.prompts * size.trials * size.new / _timed(run, 1, device))
    return float(max(rates))


PEERS: dict[str, Callable[[Size], float]] = {"sft": _peer_sft, "sampling": _peer_sampling}


if __name__ == "__main__":
    main()
