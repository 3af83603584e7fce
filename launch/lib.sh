# shellcheck shell=bash
# Shared by the launchers; sourced, not run. Works with bash 3.2, which macOS has.
set -euo pipefail

readonly RESUMABLE=75 # the exit code of a run that was interrupted and can be resumed
readonly MAX_RESTARTS="${MAX_RESTARTS:-50}"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
DRY_RUN=false
INTERRUPTED=false

# End with exit code 2 and one sentence.
fail() {
  echo "$(basename "$0"): $*" >&2
  exit 2
}

# Print the comment block at the top of the launcher.
usage() {
  sed -n -e '/^# shellcheck/q' -e '2,$s/^# \{0,1\}//p' "$0"
}

# Return a command as it would be typed.
quoted() {
  local word line=
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]]; then
      line+="$word "
    else
      line+="'${word//\'/\'\\\'\'}' "
    fi
  done
  printf '%s' "${line% }"
}

# Print a command and, unless --dry-run was given, carry it out.
run() {
  echo "+ $(quoted "$@")"
  $DRY_RUN || "$@"
}

# Fail unless the option $1 is followed by a value: `needs_value "$@"`.
needs_value() {
  [ $# -ge 2 ] || fail "$1 needs a value"
}

# Return whether one of the arguments sets the key $1.
sets_key() {
  local key=$1 word
  shift
  for word in "$@"; do
    [[ $word == "$key="* ]] && return 0
  done
  return 1
}

# Run a command as `run` does, and again while it ends with the resumable exit code. Signals go to the
# command, which saves its state; after one, it is not started again.
resume() {
  local restarts=0 code child=
  trap 'INTERRUPTED=true; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' INT TERM HUP
  while true; do
    echo "+ $(quoted "$@")"
    if $DRY_RUN; then
      echo "# again while it ends with exit code $RESUMABLE, at most $MAX_RESTARTS times"
      return 0
    fi
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ends `wait` early
      code=0
      wait "$child" || code=$?
    done
    if [ "$code" -ne "$RESUMABLE" ] || $INTERRUPTED; then
      return "$code"
    fi
    restarts=$((restarts + 1))
    [ "$restarts" -le "$MAX_RESTARTS" ] || fail "interrupted $restarts times; resume it by the same command"
    echo "# interrupted with exit code $RESUMABLE; resuming ($restarts of at most $MAX_RESTARTS)"
  done
}
