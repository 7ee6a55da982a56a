# Runs the tests of the invariants, as docs/trust.md names them, and says what became of each.

R35="cargo test -p dormouse --test trust r35"

# soak MINUTES FOLDER: half of the time for R35, half for all others, round after round.
soak() {
  local minutes=$1 folder=$2 began=$SECONDS seed=1 failed=0 run=0 command
  local end=$((began + minutes * 60)) half=$(((minutes + 1) / 2))
  soak_flat "$half" "$folder" || failed=1

  say "every invariant, round after round"
  while [ $SECONDS -lt $end ]; do
    while read -r command; do
      [ $SECONDS -lt $end ] || break
      invariant "$command" "$seed" "$folder" || failed=$((failed + 1))
      run=$((run + 1))
    done < <(invariants)
    seed=$((seed + 1))
  done
  judge "$run" "$failed" "$folder"
}

# soak_in_full MINUTES FOLDER: R35 for so long, then all others once, with the N that they name.
soak_in_full() {
  local minutes=$1 folder=$2 failed=0 run=0 command
  soak_flat "$minutes" "$folder" || failed=1

  say "every invariant in full"
  export DORMOUSE_TRUST_SCALE=full
  while read -r command; do
    invariant "$command" "${DORMOUSE_SEED:-1}" "$folder" || failed=$((failed + 1))
    run=$((run + 1))
  done < <(invariants)
  judge "$run" "$failed" "$folder"
}

# judge RUNS FAILED FOLDER
judge() {
  say "$1 runs beside R35, $2 failed"
  [ "$2" = 0 ] || die "$2 runs failed" "their output is in $3; a seed repeats what was drawn"
}

# soak_flat MINUTES FOLDER
soak_flat() {
  say "memory, files and tasks for $1 minutes"
  DORMOUSE_SOAK_MINUTES=$1 invariant "$R35" 1 "$2" quietly
  local outcome=$?
  grep -h '^R35' "$2"/*-r35-1.log || true
  return $outcome
}

# The commands of the table, each once, but that of the soak itself.
invariants() {
  grep '^| R' docs/trust.md | grep -o '`cargo test [^`]*`' | tr -d '`' | grep -vxF "$R35" |
    awk '!seen[$0]++'
}

build_invariants() {
  local binary
  while read -r binary; do
    # The words of the table are what cargo takes.
    # shellcheck disable=SC2086
    cargo test --quiet --no-run $binary </dev/null || return 1
  done < <({ invariants; echo "$R35"; } | sed -n 's/^cargo test \(-p [^ ]* --test [^ ]*\).*/\1/p' | sort -u)
}

# invariant COMMAND SEED FOLDER [quietly]: runs it, keeps what it says, and tells its figures.
invariant() {
  local command=$1 seed=$2 folder=$3 words log outcome=0 began=$SECONDS
  read -ra words <<<"$command"
  log="$folder/${words[5]}-${words[6]}-$seed.log"
  DORMOUSE_SEED=$seed "${words[0]}" test --quiet "${words[@]:2}" -- --nocapture \
    </dev/null >"$log" 2>&1 || outcome=$?
  [ "${4:-}" != quietly ] || return $outcome
  [ $outcome = 0 ] || printf 'FAILED: %s, see %s\n' "$command" "$log"
  grep '^R[0-9].* seed=' "$log" ||
    printf '%s: %s, %s s\n' "${words[*]:2}" "$(grep -m1 '^test result' "$log" || echo 'no result')" \
      $((SECONDS - began))
  return $outcome
}
