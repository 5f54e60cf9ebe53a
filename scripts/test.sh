#!/usr/bin/env bash
# What `make test` runs: the test programs of the workspace, and packets on network namespaces.
# Most of them wait most of the time, so several run at once; each says what it has to say when
# it ends. Cargo itself would run one after the other.
#   scripts/test.sh [CASE ...]   names or tags of cases; none: all that are not generated
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- --without generated
at_once=$(($(nproc) + 1))

# Folder and program, a line for each, as cargo has built them. Between the two, and before
# each argument, stands a tab: names may have blanks.
programs() {
  cargo test --workspace --no-run --message-format=json-render-diagnostics |
    sed -nE 's|.*"manifest_path":"([^"]*)/Cargo.toml".*"profile":\{[^}]*"test":true\}.*"executable":"([^"]*)".*|\1\t\2|p'
}

# One such line: as cargo would run it, and what it said in one piece.
one() {
  local folder said words status=0
  IFS=$'\t' read -ra words <<<"$1"
  folder=${words[0]}
  set -- "${words[@]:1}"
  said=$(mktemp)
  (cd "$folder" && CARGO_MANIFEST_DIR=$folder "$@") >"$said" 2>&1 </dev/null || status=$?
  {
    flock 9
    echo "== ${*/#"$root/"/} ($SECONDS s)"
    cat "$said"
    [ $status -eq 0 ] || echo "FAILED: $* ended with $status"
  } 9>>"$lock"
  rm -f "$said"
  return $status
}
export -f one
export root=$PWD lock
lock=$(mktemp)
trap 'rm -f "$lock"' EXIT

built=$(programs)
[ -n "$built" ] || { echo "test: cargo has named no test program" >&2; exit 1; }
e2e() {
  local IFS=$'\t'
  echo "$root"$'\t'"$root/target/debug/ringfence-e2e"$'\t'"$*"
}
{
  # First what takes longest. The second is the harness itself: it must turn red when nobody
  # enforces, when a rule is wrong and when a probe dies.
  e2e run --objects folder --pods in-turn "$@"
  e2e self-test --pods in-turn upstream kube-router
  echo "$built"
} | xargs -d '\n' -P "$at_once" -n 1 bash -c 'one "$1"' one

cargo test --workspace --doc --quiet
