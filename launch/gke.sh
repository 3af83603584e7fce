#!/usr/bin/env bash
# Run on a TPU slice of a GKE cluster, by kubectl, or by xpk where the cluster was made with it.
#
#   launch/gke.sh --image IMAGE [--name NAME] [--type TYPE] [--xpk CLUSTER] [--dry-run] [--] ARGUMENTS OF train
#
#   --image IMAGE  what launch/docker.sh --extras tpu --push made
#   --name NAME    of the job (default: dast-jax)
#   --type TYPE    v5p-8, v5p-16, v5p-32, v6e-8, v6e-16, v5litepod-8 or v5litepod-16 (default: v5p-16)
#   --xpk CLUSTER  submit by `xpk workload create` to this cluster
#   --dry-run      print the commands and the manifest, and submit nothing
#
# Set run.mirror=gs://…: a pod that starts again has an empty disk.
# Example: launch/gke.sh --image us-docker.pkg.dev/p/r/dast_jax:1 --type v5p-16 \
#            --config llama31_8b_gsm8k_v5p8 run.dir=runs/llama31 run.mirror=gs://my-bucket/llama31
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image='' name=dast-jax type=v5p-16 cluster=''
while [ $# -gt 0 ]; do
  case $1 in
    --image) needs_value "$@"; image=$2; shift 2 ;;
    --name) needs_value "$@"; name=$2; shift 2 ;;
    --type) needs_value "$@"; type=$2; shift 2 ;;
    --xpk) needs_value "$@"; cluster=$2; shift 2 ;;
    --dry-run) DRY_RUN=true; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) break ;;
  esac
done
[ -n "$image" ] || fail "--image is required; see --help"
[ $# -gt 0 ] || fail "no arguments for train; for example: --config llama31_8b_gsm8k_v5p8 run.dir=runs/llama31"
sets_key run.mirror "$@" || echo "# warning: without run.mirror=gs://… a pod that starts again begins again" >&2

if [ -n "$cluster" ]; then
  $DRY_RUN || command -v xpk >/dev/null || fail "xpk: not found; pip install xpk"
  run xpk workload create --cluster "$cluster" --workload "$name" --tpu-type "$type" --num-slices 1 \
    --docker-image "$image" --max-restarts "$MAX_RESTARTS" --restart-on-exit-codes "$RESUMABLE" \
    --command "python -m dast_jax.train $(quoted "$@")"
  exit
fi

case $type in # accelerator, topology, hosts, chips of a host
  v5p-8) set_of=(tpu-v5p-slice 2x2x1 1 4) ;;
  v5p-16) set_of=(tpu-v5p-slice 2x2x2 2 4) ;;
  v5p-32) set_of=(tpu-v5p-slice 2x2x4 4 4) ;;
  v6e-8) set_of=(tpu-v6e-slice 2x4 1 8) ;;
  v6e-16) set_of=(tpu-v6e-slice 4x4 4 4) ;;
  v5litepod-8) set_of=(tpu-v5-lite-podslice 2x4 1 8) ;;
  v5litepod-16) set_of=(tpu-v5-lite-podslice 4x4 4 4) ;;
  *) fail "--type $type: not one of those in --help; edit launch/gke_tpu.yaml and use kubectl apply" ;;
esac
arguments= # as a JSON list, which is YAML
for word in "$@"; do
  word=${word//\\/\\\\}
  arguments+="${arguments:+, }\"${word//\"/\\\"}\""
done
for word in "$name" "$image" "$arguments"; do # they go through sed
  [[ $word != *$'\n'* && $word != *'|'* && $word != *'&'* ]] || fail "$word: may not hold |, & or a line break"
done
manifest=$(sed -e "s|dast-jax|$name|" -e "s|image: IMAGE|image: $image|" \
  -e "s|args: .*|args: [${arguments//\\/\\\\}]|" -e "s|tpu-v5p-slice|${set_of[0]}|" -e "s|2x2x2\$|${set_of[1]}|" \
  -e "s|completions: 2|completions: ${set_of[2]}|" -e "s|parallelism: 2|parallelism: ${set_of[2]}|" \
  -e "s|google.com/tpu: 4|google.com/tpu: ${set_of[3]}|" \
  -e '/^# /d' "$ROOT/launch/gke_tpu.yaml")
$DRY_RUN || command -v kubectl >/dev/null || fail "kubectl: not found"
echo "+ kubectl apply -f - # with:"
echo "$manifest"
$DRY_RUN || kubectl apply -f - <<< "$manifest"
run kubectl wait --for=condition=ready pod --selector "job-name=$name" --timeout=30m
run kubectl logs --follow --selector "job-name=$name,batch.kubernetes.io/job-completion-index=0"
