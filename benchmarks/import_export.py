"""Peak memory of importing and exporting a model: `python -m benchmarks.import_export [--gigabytes 2]`.

Writes a random bfloat16 model of about that size, and measures in a process of its own for each, as the
growth of the peak resident memory: loading it on one device; loading it split over 4 virtual devices;
exporting a checkpoint of it. On a CPU the devices' arrays are the host's memory, so the model itself is part
of the first two. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

LAYERS, HIDDEN, MLP, HEADS, KV_HEADS, VOCABULARY = 8, 2048, 8192, 16, 4, 32_000


def config(layers: int) -> dict[str, object]:
    """Return the config.json of the model."""
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    }  # fmt: skip


def write_model(folder: Path, gigabytes: float) -> int:
    """Write a folder with random weights; return their bytes."""
    from dast_jax.models.hf import config_from_dict, expected_tensors
    from dast_jax.models.tensor_files import Entry, write_tensors

    layer = 2 * (HIDDEN * 128 * (2 * HEADS + 2 * KV_HEADS) + 3 * HIDDEN * MLP)
    layers = max(1, round((gigabytes * 1e9 - 4 * HIDDEN * VOCABULARY) / layer))
    data = config(layers)
    (folder / "config.json").write_text(json.dumps(data))
    kind = np.dtype(ml_dtypes.bfloat16)
    entries = [Entry(n, kind, shape) for n, shape in expected_tensors(config_from_dict(data, "config.json"))]
    rng = np.random.default_rng(0)

    def random(entry: Entry) -> np.ndarray:
        """Return random bits with the exponents' largest bit cleared, which makes them finite, below 2."""
        bits = np.frombuffer(rng.bytes(2 * int(np.prod(entry.shape))), np.uint16) & 0xBFFF
        found: np.ndarray = bits.view(kind).reshape(entry.shape)
        return found

    write_tensors(folder / "model.safetensors", entries, map(random, entries))
    return sum(int(np.prod(e.shape)) * 2 for e in entries)


def peak() -> float:
    """Return the peak resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def child(what: str, folder: Path) -> None:
    """Do `what` and print the growth of the peak, and the bytes of the largest parameter on this host."""
    import jax
    from flax import nnx

    from dast_jax.models.hf import build_params, open_folder, save_model
    from dast_jax.models.load import _shardings, abstract_model
    from dast_jax.models.options import MeshOptions
    from dast_jax.models.sharding import make_mesh
    from dast_jax.training.checkpoint import open_policy, save_policy

    source = open_folder(folder)
    _, template = abstract_model(source.config, dtype="bfloat16")
    largest = max(x.size * x.dtype.itemsize for x in jax.tree.leaves(template))
    mesh = make_mesh(MeshOptions(fsdp=4)) if what == "load on 4 devices" else None
    jax.block_until_ready(jax.numpy.zeros(8))
    before = peak()
    if what == "export":
        host = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), template)
        with open_policy(folder / "policy", like) as read:
            save_model(folder / "export", source.config, like, read=read)
    else:
        params = build_params(template, source.config, source.read, _shardings(template, mesh))
        jax.block_until_ready(params)
    grown = peak() - before
    print(json.dumps({"grown": grown, "largest": largest}))
    if what == "load":
        save_policy(folder / "policy", nnx.state(params) if isinstance(params, nnx.Module) else params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the model (2)")
    parser.add_argument("--folder", help="where to write it (a temporary folder)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, Path(arguments.folder))
        return
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        size = write_model(Path(folder), arguments.gigabytes)
        for what in ("load", "load on 4 devices", "export"):
            command = [sys.executable, "-m", "benchmarks.import_export", "--child", what, "--folder", folder]
            flags = "--xla_force_host_platform_device_count=4" if "4" in what else ""
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            found[what] = json.loads(done.stdout.splitlines()[-1])
            own = 0.0 if what == "export" else size
            beside = found[what]["grown"] - own
            print(
                f"{what}: the peak grows by {found[what]['grown'] / 1e9:.2f} GB, {beside / 1e9:.2f} beside "
                f"the model on its devices; the largest parameter has {found[what]['largest'] / 1e9:.2f} GB"
            )
    result = {
        "benchmark": "import_export",
        "model_bytes": size,
        "grown": {what: numbers["grown"] for what, numbers in found.items()},
        "largest_parameter": found["load"]["largest"],
        "unit": "bytes of peak resident memory (lower is better)",
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
