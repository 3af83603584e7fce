#!/usr/bin/env bash
# Submit a run on one or several GPU nodes to SLURM, which requeues it after an interruption.
#
#   launch/slurm.sh [--nodes N] [--gpus N] [--time T] [--partition P] [--account A] [--dry-run] [--] ARGUMENTS OF train
#
#   --nodes N    nodes, one process each (default: 1)
#   --gpus N     GPUs of a node (default: 8)
#   --time T     time limit of one job (default: 24:00:00); three minutes before it, the run saves its state
#                and the job is requeued
#   --dry-run    print the command and the batch script, and submit nothing
#
# The checkout, its .venv (make venv EXTRAS=cuda) and run.dir must be on a file system that all nodes share:
# process 0 may be on another node after a requeue.
# Example: launch/slurm.sh --nodes 2 --config llama31_8b_8xh100 run.dir=runs/llama31 mesh.fsdp=16
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

nodes=1 gpus=8 time=24:00:00 flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) needs_value "$@"; nodes=$2; shift 2 ;;
    --gpus) needs_value "$@"; gpus=$2; shift 2 ;;
    --time) needs_value "$@"; time=$2; shift 2 ;;
    --partition | --account) needs_value "$@"; flags+=("$1=$2"); shift 2 ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail "no arguments for train; for example: --config llama31_8b_8xh100 run.dir=runs/llama31"
if ! $DRY_RUN; then
  command -v sbatch >/dev/null || fail "sbatch: not found; run this on a login node of the cluster"
  [ -x "$ROOT/.venv/bin/python" ] || fail "$ROOT/.venv: not found; run 'make venv EXTRAS=cuda' first"
fi
run sbatch --nodes="$nodes" --gpus-per-node="$gpus" --time="$time" ${flags[@]+"${flags[@]}"} --chdir="$ROOT" \
  "$ROOT/launch/slurm.sbatch" "$@"
if $DRY_RUN; then
  echo "# $ROOT/launch/slurm.sbatch:"
  sed 's/^/#   /' "$ROOT/launch/slurm.sbatch"
fi
