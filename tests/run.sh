#!/usr/bin/env bash
# Installs what the tests need and runs all of them: the Rust tests, then real Socket.IO clients and a real browser.
# Usage: tests/run.sh        (from anywhere; root is needed only to install Chromium, Node or npm when they are missing)
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
for program in chromium curl openssl fish zsh tmux; do # the shells: for the tests of the completions
  command -v "$program" >/dev/null || missing+=("$program")
done
command -v promtool >/dev/null || missing+=(prometheus) # for the check of the metrics
command -v php >/dev/null || missing+=(php-cli) # for the example of the README
command -v nft >/dev/null || missing+=(nftables iproute2) # for half-open connections
command -v systemd-analyze >/dev/null || missing+=(systemd)
[ -x /usr/sbin/nginx ] || missing+=(nginx-light) # for handovers behind it
[ -x /usr/sbin/haproxy ] || missing+=(haproxy)   # and behind it
if ((${#missing[@]})); then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/run.sh: missing: ${missing[*]}; install them, on Debian: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "== installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

echo "== Rust tests"
cargo test --locked

echo "== JavaScript tests: real clients, real browser"
cargo build --locked
cd tests/js
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
CHATCTL_BIN="${CHATCTL_BIN:-$PWD/../../target/debug/chatctl}" npm test
