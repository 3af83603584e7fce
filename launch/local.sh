#!/usr/bin/env bash
# Train on this machine, and resume after interruptions until the run is finished.
#
#   launch/local.sh [--processes N] [--dry-run] [--] ARGUMENTS OF train
#
#   --processes N  start N processes on this machine that form one job, each with its share of the devices
#                  (for trying out a job of several hosts; on CPU set XLA_FLAGS for more virtual devices)
#   --dry-run      print every command and carry out none
#
# PYTHON names the interpreter (default: .venv/bin/python), MAX_RESTARTS how often a run is resumed (50).
# Example: launch/local.sh --config quickstart run.dir=runs/mine
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

processes=1
while [ $# -gt 0 ]; do
  case $1 in
    --processes) needs_value "$@"; processes=$2; shift 2 ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail "no arguments for train; for example: launch/local.sh --config quickstart"
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "--processes: $processes is not a positive integer"
python=${PYTHON:-$ROOT/.venv/bin/python}
$DRY_RUN || command -v "$python" >/dev/null || fail "$python: not found; run 'make venv' first, or set PYTHON"

# One job of several processes, with the exit code of process 0.
job() {
  local i code children=()
  trap 'kill -TERM "${children[@]}" 2>/dev/null || true' TERM
  for ((i = processes - 1; i >= 0; i--)); do
    JAX_PROCESS_ID=$i "$@" &
    children+=($!)
  done
  for ((i = 0; i < processes; i++)); do
    code=0
    wait "${children[$i]}" || code=$?
    while kill -0 "${children[$i]}" 2>/dev/null; do # a signal ends `wait` early
      code=0
      wait "${children[$i]}" || code=$?
    done
  done
  return "$code" # of process 0, which was started last
}

if [ "$processes" -eq 1 ]; then
  resume "$python" -m dast_jax.train "$@"
else
  port=${PORT:-$((20000 + RANDOM % 20000))}
  export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$processes
  echo "# $processes processes: JAX_COORDINATOR_ADDRESS=$JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES=$processes" \
    "JAX_PROCESS_ID=0…$((processes - 1))"
  resume job "$python" -m dast_jax.train "$@"
fi
