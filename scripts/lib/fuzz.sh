# Where fuzzing can be done: the tool, a compiler that takes unstable flags, and the targets.

# Says why fuzzing is not possible here; nothing where it is.
fuzz_missing() {
  command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is not installed"; return; }
  [ -n "$(fuzz_toolchain)" ] || echo "there is no nightly toolchain"
}

fuzz_toolchain() {
  command -v rustup >/dev/null || return 0
  rustup toolchain list 2>/dev/null | sed 's/ .*//' | grep -m1 '^nightly' || true
}

fuzz_targets() { sed -n 's/^name = "\([a-z_]*\)"$/\1/p' fuzz/Cargo.toml; }

# fuzz_some SECONDS TARGET…: builds once, and shares the seconds out. What is found new goes to a
# folder of its own; the corpora stay as they are committed.
fuzz_some() {
  local seconds=$1 toolchain target began spent each found failed=()
  shift
  toolchain=$(fuzz_toolchain)
  found="${CARGO_TARGET_DIR:-target}/fuzz-found"
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"
  mkdir -p "$found" "$CARGO_TARGET_DIR"
  # The versions that are fuzzed are those that are released.
  cp Cargo.lock fuzz/Cargo.lock
  found=$(cd "$found" && pwd)
  CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
  cargo "+$toolchain" fuzz build --fuzz-dir fuzz 2>&1 | tail -3 || return 1
  each=$((seconds / $#))
  [ "$each" -gt 0 ] || each=1
  for target in "$@"; do
    mkdir -p "$found/$target"
    began=$SECONDS
    if cargo "+$toolchain" fuzz run --fuzz-dir fuzz "$target" "$found/$target" \
      "fuzz/corpus/$target" -- -max_total_time="$each" -max_len=4096 -timeout=10 \
      -rss_limit_mb=1024 -print_final_stats=1 >"$found/$target.log" 2>&1; then
      spent=$((SECONDS - began))
      printf '%-14s %9s runs in %s s\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/$target.log")" "$spent"
    else
      failed+=("$target")
      printf '%-14s failed; see %s\n' "$target" "$found/$target.log"
      grep -E -m3 'panicked at|ERROR: |Test unit written' "$found/$target.log" || true
    fi
  done
  [ ${#failed[@]} -eq 0 ]
}
