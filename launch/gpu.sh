#!/usr/bin/env bash
# Install the CUDA build on a machine with NVIDIA GPUs and train there, resuming after interruptions.
#
#   launch/gpu.sh [--venv DIR] [--dry-run] [--] ARGUMENTS OF train
#
#   --venv DIR  the virtual environment to create or use (default: .venv)
#   --dry-run   print every command and carry out none
#
# Needs a driver for CUDA 13 (`nvidia-smi`), Python 3.11 or newer and a package index; the CUDA libraries
# come as Python packages. For several nodes see launch/slurm.sh.
# Example: launch/gpu.sh --config llama32_1b_gsm8k_h100 run.dir=runs/llama32
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

venv=$ROOT/.venv
while [ $# -gt 0 ]; do
  case $1 in
    --venv) needs_value "$@"; venv=$2; shift 2 ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail "no arguments for train; for example: launch/gpu.sh --config quickstart"
if ! $DRY_RUN; then
  command -v nvidia-smi >/dev/null || fail "nvidia-smi: not found; this machine has no NVIDIA driver"
fi

run nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
run make -C "$ROOT" venv VENV="$venv" EXTRAS=cuda
run "$venv/bin/python" -c 'import jax; assert jax.default_backend() == "gpu", "jax sees no GPU"; print(jax.devices())'
resume "$venv/bin/python" -m dast_jax.train "$@"
