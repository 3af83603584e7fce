#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on each host of a TPU VM.
#
#   on_host.sh install EXTRAS           install this folder into .venv
#   on_host.sh start ARGUMENTS OF train start the job, which survives a lost connection; log.txt, pid and, when
#                                       it has ended, exit_code are left in this folder
#   on_host.sh running                  exit code 0 where the job runs
#   on_host.sh follow                   print the job's log until it ends
#   on_host.sh --dry-run …              print the commands and carry out none
# shellcheck source=launch/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

if [ "${1:-}" = --dry-run ]; then
  DRY_RUN=true
  shift
fi
[ $# -gt 0 ] || fail "install, start, running or follow?"
action=$1
shift

running() {
  [ -f pid ] && ps -o args= -p "$(cat pid)" | grep -q dast_jax.train
}

case $action in
  install) # uv brings its own Python where the image's is older than 3.11
    uv=$HOME/.local/bin/uv
    run pip3 install --quiet --user uv
    run "$uv" venv --quiet --clear --python 3.12 .venv
    run "$uv" pip install --quiet --python .venv/bin/python -c constraints.txt -e ".[$1]"
    ;;
  running) running ;;
  start)
    if running; then
      echo "# the job runs already; follow it"
      exit
    fi
    run rm -f exit_code
    echo "+ .venv/bin/python -m dast_jax.train $(quoted "$@") >> log.txt"
    if ! $DRY_RUN; then
      # shellcheck disable=SC2016  # expanded by the inner shell
      setsid nohup bash -c '.venv/bin/python -m dast_jax.train "$@" >> log.txt 2>&1; echo $? > exit_code' \
        job "$@" < /dev/null > /dev/null 2>&1 &
      echo $! > pid
    fi
    ;;
  follow) run tail -n +1 -F --pid="$(cat pid)" log.txt ;;
  *) fail "$action: not an action; use install, start, running or follow" ;;
esac
