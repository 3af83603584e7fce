#!/usr/bin/env bash
# Train on a Cloud TPU VM: create or use it, install on all hosts, start, follow the log, resume after
# preemption, fetch the report, delete it.
#
#   launch/tpu_vm.sh --name NAME --zone ZONE --type TYPE [options] [--] ARGUMENTS OF train
#
#   --name, --zone, --type  the TPU VM, for example: --name dast --zone us-east5-a --type v5p-8
#   --project P             the Google Cloud project (default: gcloud's)
#   --version V             the TPU software version (default: by type)
#   --spot                  a spot VM, which may be preempted at any time; set run.mirror=gs://…
#   --keep                  do not delete the VM when the run is finished
#   --out DIR               where the report and the summary are copied to (default: runs/NAME)
#   --dry-run               print every command and carry out none
#
# Needs `gcloud`, logged in, and a checkout (what is committed is installed). A preempted VM is deleted and
# created anew; the run then continues from run.mirror, without which it begins again.
# Example: launch/tpu_vm.sh --name dast --zone us-east5-a --type v5p-8 --spot \
#            --config llama31_8b_gsm8k_v5p8 run.dir=runs/llama31 run.mirror=gs://my-bucket/llama31
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name='' zone='' type='' version='' out='' spot=false keep=false project=()
while [ $# -gt 0 ]; do
  case $1 in
    --name) needs_value "$@"; name=$2; shift 2 ;;
    --zone) needs_value "$@"; zone=$2; shift 2 ;;
    --type) needs_value "$@"; type=$2; shift 2 ;;
    --project) needs_value "$@"; project=(--project "$2"); shift 2 ;;
    --version) needs_value "$@"; version=$2; shift 2 ;;
    --out) needs_value "$@"; out=$2; shift 2 ;;
    --spot) spot=true; shift ;;
    --keep) keep=true; shift ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ -n "$name" ] && [ -n "$zone" ] && [ -n "$type" ] || fail "--name, --zone and --type are required; see --help"
[ $# -gt 0 ] || fail "no arguments for train; for example: --config llama31_8b_gsm8k_v5p8 run.dir=runs/llama31"
sets_key run.dir "$@" || fail "set run.dir=…: the report is fetched from there"
if $spot && ! sets_key run.mirror "$@"; then
  echo "# warning: without run.mirror=gs://… a preempted run begins again" >&2
fi
if [ -z "$version" ]; then
  case $type in
    v6e-*) version=v2-alpha-tpuv6e ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "--type $type: no TPU software version is known for it; set --version" ;;
  esac
fi
out=${out:-runs/$name}
for word in "$@"; do
  [[ $word == run.dir=* ]] && run_dir=${word#run.dir=}
done
$DRY_RUN || command -v gcloud >/dev/null || fail "gcloud: not found; install the Google Cloud CLI"

tpu() { # a subcommand of `gcloud compute tpus tpu-vm`, and its arguments
  local subcommand=$1
  shift
  run gcloud compute tpus tpu-vm "$subcommand" "$@" --zone "$zone" ${project[@]+"${project[@]}"} --quiet
}
on_hosts() { tpu ssh "$name" --worker="$1" --command="$2"; }

state() { # READY, CREATING, PREEMPTED, … ; nothing where there is no such VM
  $DRY_RUN && echo READY && return
  gcloud compute tpus tpu-vm describe "$name" --zone "$zone" ${project[@]+"${project[@]}"} \
    --format='value(state)' 2>/dev/null || true
}

create() {
  local flags=(--accelerator-type "$type" --version "$version")
  $spot && flags+=(--spot)
  until tpu create "$name" "${flags[@]}"; do
    echo "# no capacity, or an error above; trying again in ${RETRY_SECONDS:-60} s (Ctrl-C ends this)"
    sleep "${RETRY_SECONDS:-60}"
  done
}

ready() { # make sure that the VM exists and works
  local now
  $DRY_RUN && create && return
  now=$(state)
  if [ -n "$now" ] && [ "$now" != READY ] && [ "$now" != CREATING ]; then
    echo "# $name is $now"
    tpu delete "$name"
    now=
  fi
  [ -n "$now" ] || create
  while [ "$(state)" = CREATING ]; do sleep "${RETRY_SECONDS:-60}"; done
}

install() {
  local archive=${TMPDIR:-/tmp}/dast_jax-$name.tar.gz
  run git -C "$ROOT" archive --format=tar.gz --prefix=dast_jax/ --output="$archive" HEAD
  tpu scp "$archive" "$name:dast_jax.tar.gz" --worker=all
  # A job that runs already, started by an earlier call, keeps its code.
  on_hosts all "bash dast_jax/launch/on_host.sh running 2>/dev/null || \
(tar xzf dast_jax.tar.gz && bash dast_jax/launch/on_host.sh install tpu)"
  run rm "$archive"
}

start() { on_hosts all "bash dast_jax/launch/on_host.sh start $(quoted "$@")"; }

follow() { on_hosts 0 'bash dast_jax/launch/on_host.sh follow'; }

exit_code() { # of the job on host 0; nothing while it runs or when the host is gone
  $DRY_RUN && echo 0 && return
  gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" ${project[@]+"${project[@]}"} --quiet --worker=0 \
    --command='cat dast_jax/exit_code' 2>/dev/null || true
}

restarts=0
ready
install
start "$@"
while true; do
  follow || true # ends with the job, or with the connection
  code=$(exit_code)
  if [ -z "$code" ]; then
    if [ "$(state)" = READY ]; then
      sleep "${RETRY_SECONDS:-60}" # the connection broke and the job continues
      continue
    fi
    ready
    install
  elif [ "$code" -ne "$RESUMABLE" ]; then
    break
  fi
  restarts=$((restarts + 1))
  [ "$restarts" -le "$MAX_RESTARTS" ] || fail "interrupted $restarts times; resume it by the same command"
  echo "# interrupted; resuming ($restarts of at most $MAX_RESTARTS)"
  start "$@"
done
if $DRY_RUN; then echo "# while the run is interrupted or the VM preempted: create, install and start again"; fi
run mkdir -p "$out"
tpu scp "$name:dast_jax/$run_dir/report.html" "$name:dast_jax/$run_dir/summary.json" "$out/" --worker=0 ||
  echo "# no report to fetch"
if $keep; then
  echo "# $name is kept and costs money; delete it: gcloud compute tpus tpu-vm delete $name --zone $zone"
elif [ "$code" -eq 0 ]; then
  tpu delete "$name"
else
  echo "# the run ended with exit code $code; $name is kept for you to look at, and costs money"
fi
exit "$code"
