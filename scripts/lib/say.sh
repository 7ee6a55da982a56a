# How the scripts talk: one line a step, the time it took, and a clear end.

say() { printf '\n== %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# step NAME COMMAND…: runs it, and remembers that it passed and how long it took.
STEPS=()
step() {
  local name=$1 began=$SECONDS
  shift
  say "$name"
  "$@" || die "$name: failed" "run it alone: $*"
  STEPS+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
}

summary() {
  say "passed"
  printf '%s\n' "${STEPS[@]}"
}
