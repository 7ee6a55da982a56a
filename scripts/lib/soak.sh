# Runs the tests of the invariants for a given time, and says what became of each.

# soak MINUTES FOLDER
soak() {
  local minutes=$1 folder=$2 began=$SECONDS seed=1
  local end=$((began + minutes * 60)) half=$(((minutes + 1) / 2)) failed=0
  say "memory, files and tasks for $half minutes"
  DORMOUSE_SOAK_MINUTES=$half invariant r35_memory_files_and_tasks_are_flat "$seed" "$folder" ||
    failed=$((failed + 1))
  grep '^R35' "$folder/r35_memory_files_and_tasks_are_flat-$seed.log" || true

  say "every invariant, round after round"
  local names name run=0
  names=$(invariants)
  while [ $SECONDS -lt $end ]; do
    for name in $names; do
      [ $SECONDS -lt $end ] || break
      invariant "$name" "$seed" "$folder" || failed=$((failed + 1))
      report "$name" "$seed" "$folder"
      run=$((run + 1))
    done
    seed=$((seed + 1))
  done

  say "$run runs of $(wc -w <<<"$names") invariants, $failed failed"
  [ $failed = 0 ] || die "$failed runs failed" "their output is in $folder; a seed repeats what was drawn"
}

# The names of all tests of invariants but the soak itself.
invariants() {
  cargo test -p dormouse --test trust --quiet -- --list |
    sed -n 's/: test$//p' | sed 's/.*:://' | grep '^r[0-9]' | grep -v '^r35'
}

# invariant NAME SEED FOLDER: runs one of them, and keeps what it says.
invariant() {
  DORMOUSE_SEED=$2 DORMOUSE_TRUST_SCALE=${DORMOUSE_TRUST_SCALE:-1} DORMOUSE_TEST_DOCKER=required \
    cargo test -p dormouse --test trust --quiet -- --nocapture "$1" >"$3/$1-$2.log" 2>&1
}

# report NAME SEED FOLDER: prints the lines that it printed, or that it printed none.
report() {
  grep '^R[0-9].* seed=' "$3/$1-$2.log" || printf '%s: no figures, see %s\n' "$1" "$3/$1-$2.log"
}
