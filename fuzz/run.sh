#!/usr/bin/env bash
# Fuzzes with libFuzzer: each target for so many seconds, one after the other, from its seeds and what earlier runs found
# worth keeping. Needs a C++ compiler, and nothing that is not stable.
#
# Usage: fuzz/run.sh [--quick] [seconds for each target: 60] [targets: all]
#   --quick   unoptimized, and only the program itself shows where inputs lead: builds what the tests have not
#             built already, in a minute, where all of it takes ten
#
# What it dies of is left in fuzz/artifacts/TARGET. When that is mended it becomes a seed, in fuzz/seeds/TARGET.
set -euo pipefail
cd "$(dirname "$0")"
quick=no
if [ "${1:-}" = --quick ]; then
  quick=yes
  shift
fi
seconds="${1:-60}"
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
  for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# As cargo-fuzz does it; `cargo fuzz run` works here as well.
instrumented="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
if [ "$quick" = yes ]; then
  INSTRUMENTED="$instrumented" RUSTC_WRAPPER="$PWD/rustc.sh" cargo build --locked --quiet --target-dir ../target
  programs=../target/debug
else
  # For a target by name, or build scripts would be instrumented too.
  host="$(rustc -vV | sed -n 's/^host: //p')"
  RUSTFLAGS="$instrumented" cargo build --locked --quiet --release --target "$host"
  programs="target/$host/release"
fi

# Servers under attack keep journals: in memory, where that is possible.
if [ -d /dev/shm ]; then export TMPDIR=/dev/shm; fi
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  options=(-max_total_time="$seconds" -timeout=120 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="artifacts/$target/")
  if [ -f "dictionaries/$target" ]; then options+=(-dict="dictionaries/$target"); fi
  seeds=("seeds/$target")
  case "$target" in
    config) options+=(-seed_inputs=../chat.toml) ;;
    migrate) seeds+=(../tests/pm2) ;;
  esac
  log="artifacts/$target.log"
  if ! "$programs/$target" "${options[@]}" "corpus/$target" "${seeds[@]}" >"$log" 2>&1; then
    grep -v '^#' "$log" | tail -n 60
    echo "fuzz/run.sh: $target died, of what is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  echo "$target: $(grep '^Done' "$log"), $(grep -c . <(ls "corpus/$target")) inputs worth keeping"
done
