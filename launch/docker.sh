#!/usr/bin/env bash
# Build an image of the checkout, and push it or run it.
#
#   launch/docker.sh --image NAME [--extras E] [--push] [--run] [--dry-run] [--] [ARGUMENTS OF train]
#
#   --image NAME  the image, with its registry if it is pushed: us-docker.pkg.dev/project/repo/dast_jax:1
#   --extras E    cuda (the default), tpu or '' for CPU
#   --push        push it
#   --run         train in it on this machine, with its GPUs if it has any; runs/ is shared with the container
#   --dry-run     print every command and carry out none
#
# Example: launch/docker.sh --image dast_jax --run --config quickstart run.dir=runs/quickstart
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image='' extras=cuda push=false start=false
while [ $# -gt 0 ]; do
  case $1 in
    --image) needs_value "$@"; image=$2; shift 2 ;;
    --extras) needs_value "$@"; extras=$2; shift 2 ;;
    --push) push=true; shift ;;
    --run) start=true; shift ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ -n "$image" ] || fail "--image is required; see --help"
if $start && [ $# -eq 0 ]; then fail "--run: no arguments for train; for example: --config quickstart"; fi
$DRY_RUN || command -v docker >/dev/null || fail "docker: not found"
cd "$ROOT"
run docker build --file launch/Dockerfile --build-arg "EXTRAS=$extras" --tag "$image" .
if $push; then run docker push "$image"; fi
if $start; then
  gpus=()
  if command -v nvidia-smi >/dev/null; then gpus=(--gpus all); fi
  resume docker run --rm --init ${gpus[@]+"${gpus[@]}"} --shm-size 8g --volume "$ROOT/runs:/dast_jax/runs" "$image" "$@"
fi
