#!/usr/bin/env bash
# Each safeguard is taken out of a scratch copy, and the program that proves it has to turn red.
#   tests/mutations/run.sh             every mutation against the program that its patch names
#   tests/mutations/run.sh --all       against all programs; prints which turn red (an hour)
#   tests/mutations/run.sh NAME…       only these
# Nothing of a mutation stands in the product. A patch that no longer applies fails the script.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
seed=${SEED:-7}
programs=(changing_files secrets network model odd calls matrix torture power machine)
# A program that a mutation makes hang is as good as red.
seconds_max=600

all=false
names=()
for arg in "$@"; do
  if [ "$arg" = --all ]; then all=true; else names+=("$arg"); fi
done
if [ ${#names[@]} = 0 ]; then
  for patch in tests/mutations/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$scratch"
cd "$scratch"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target/mutations}
# Each build is used once: what a debugger needs would take more time than it saves.
export CARGO_PROFILE_DEV_DEBUG=0
unset OBJLIB_CRASH_AT OBJLIB_HASTE OBJLIB_POINTS

# Topics of the tests against the real binary, and single ones of them; the rest are proof programs.
target() { case $1 in changing_files | secrets | network | *::*) echo it ;; *) echo proof ;; esac; }
build() { # programs
  local targets=()
  for program in "$@"; do targets+=(--test "$(target "$program")"); done
  cargo test --quiet --features proof --no-run "${targets[@]}"
}
run() { # program
  case $1 in
    changing_files | secrets | network)
      timeout $seconds_max cargo test --quiet --features proof --test it "$1::" ;;
    *::*) timeout $seconds_max cargo test --quiet --features proof --test it "$1" ;;
    *) timeout $seconds_max cargo test --quiet --features proof --test proof -- "$1" --seed "$seed" ;;
  esac
}

printf 'seed %s\n' "$seed"
build "${programs[@]}"
failed=0
row='%-28s  %-8s  %-7s  %s\n'
printf "$row" mutation program found seconds
for name in "${names[@]}"; do
  patch=$here/tests/mutations/$name.patch
  git apply --check "$patch" || { echo "$name: the patch does not apply any more" >&2; exit 1; }
  git apply "$patch"
  caught_by=$(sed -n 's/^Caught by: //p' "$patch")
  if $all; then tried=("${programs[@]}"); else tried=("$caught_by"); fi
  build "${tried[@]}" || { echo "$name: does not compile" >&2; exit 1; }
  for program in "${tried[@]}"; do
    began=$SECONDS
    if run "$program" >"$scratch/log" 2>&1; then found=no; else found=yes; fi
    printf "$row" "$name" "$program" "$found" $((SECONDS - began))
    if [ $found = no ] && [ "$program" = "$caught_by" ]; then failed=$((failed + 1)); fi
  done
  git apply -R "$patch"
done
if [ $failed != 0 ]; then
  echo "$failed mutations were not caught by the program that should" >&2
  exit 1
fi
