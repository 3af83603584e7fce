#!/usr/bin/env bash
# Submit a run to SkyPilot as a managed job, which is started again after preemption.
#
#   launch/sky.sh [--gpus TYPE:N] [--nodes N] [--on-demand] [--name NAME] [--dry-run] [--] ARGUMENTS OF train
#
#   --gpus TYPE:N  the GPUs of a node (default: H100:8)
#   --nodes N      nodes, one process each (default: 1)
#   --on-demand    no spot machines
#   --dry-run      print the command and launch/sky.yaml, and submit nothing
#
# Needs `pip install skypilot` and a cloud that `sky check` accepts. Set run.mirror: a recovered job starts on
# a new machine.
# Example: launch/sky.sh --gpus H100:1 --config llama32_1b_gsm8k_h100 run.dir=runs/a run.mirror=s3://my-bucket/a
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

gpus=H100:8 nodes=1 name=dast-jax flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --gpus) needs_value "$@"; gpus=$2; shift 2 ;;
    --nodes) needs_value "$@"; nodes=$2; shift 2 ;;
    --name) needs_value "$@"; name=$2; shift 2 ;;
    --on-demand) flags+=(--no-use-spot); shift ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail "no arguments for train; for example: --config llama32_1b_gsm8k_h100 run.dir=runs/a"
sets_key run.mirror "$@" || echo "# warning: without run.mirror=… a recovered job begins again" >&2
$DRY_RUN || command -v sky >/dev/null || fail "sky: not found; pip install skypilot"
cd "$ROOT"
run sky jobs launch --yes --name "$name" --gpus "$gpus" --num-nodes "$nodes" ${flags[@]+"${flags[@]}"} \
  --env "TRAIN=$(quoted "$@")" launch/sky.yaml
if $DRY_RUN; then sed 's/^/#   /' launch/sky.yaml; fi
