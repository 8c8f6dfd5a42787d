#!/usr/bin/env bash
# Builds chatctl and installs it. Safe to run twice, also over a running one. Never needs root for a user install.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: ./install.sh [--prefix DIR] [--systemd]

  --prefix DIR   install to DIR/bin [default: /usr/local as root, else ~/.local]
  --systemd      also install the unit: of the machine as root, else of your own systemd (systemctl --user)
  --help         show this

Shell completions, man pages and the JSON schema of chat.toml go to DIR/share.
A chat.toml is put to /etc/chatctl (root) or ~/.config/chatctl (user), unless there is one already.
With DESTDIR set, everything goes below it: for packages and images.
TEXT
}

fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

root=false
[ "$(id -u)" -eq 0 ] && root=true
if $root; then prefix=/usr/local; config=/etc/chatctl; else prefix="$HOME/.local"; config="${XDG_CONFIG_HOME:-$HOME/.config}/chatctl"; fi

systemd=false
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix) [ $# -ge 2 ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
    --prefix=*) prefix=${1#--prefix=}; shift ;;
    --systemd) systemd=true; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; fail "unknown argument: $1" ;;
  esac
done
case "$prefix" in /*) ;; *) prefix="$PWD/$prefix" ;; esac
dest="${DESTDIR:-}"

cd "$(dirname "$0")"

missing=()
apt=()
need() { command -v "$1" >/dev/null || { missing+=("$1: $2"); [ -z "$3" ] || apt+=("$3"); }; }
need cargo "the Rust toolchain, 1.95 or later: install it with rustup, which Debian has as a package (rustup)" ""
need cc "a C compiler" gcc
need npm "takes the Socket.IO browser client that gets embedded; not needed afterwards" npm
if ((${#missing[@]})); then
  echo "install.sh: to build chatctl this is missing:" >&2
  printf '  %s\n' "${missing[@]}" >&2
  ((${#apt[@]} == 0)) || echo "On Debian: sudo apt-get install ${apt[*]}" >&2
  exit 1
fi
version=$(cargo --version | cut -d' ' -f2)
oldest=$(printf '%s\n1.95.0\n' "$version" | sort -V | head -n1)
[ "$oldest" = 1.95.0 ] || fail "cargo is $version, but 1.95 or later is needed: rustup update"

mkdir -p "$dest$prefix/bin" 2>/dev/null || fail "cannot write to $dest$prefix/bin: choose another --prefix"
[ -w "$dest$prefix/bin" ] || fail "cannot write to $dest$prefix/bin: choose another --prefix"

echo "Building chatctl (a few minutes the first time) ..."
cargo build --release --locked

# Moved into place whole: a running chatctl keeps its file, and a supervisor sees one change.
program="$dest$prefix/bin/chatctl"
staged="$dest$prefix/bin/.chatctl.$$"
trap 'rm -f "$staged"' EXIT
install -m 755 "${CARGO_TARGET_DIR:-target}/release/chatctl" "$staged"
mv -f "$staged" "$program"
echo "Installed $program"

# What shells, man and editors know of it, of this very version.
share="$dest$prefix/share"
bash_completions="$share/bash-completion/completions"
zsh_completions="$share/zsh/site-functions"
fish_completions="$share/fish/vendor_completions.d"
mkdir -p "$bash_completions" "$zsh_completions" "$fish_completions" "$share/chatctl"
"$program" completions bash >"$bash_completions/chatctl"
"$program" completions zsh >"$zsh_completions/_chatctl"
"$program" completions fish >"$fish_completions/chatctl.fish"
"$program" man "$share/man/man1"
"$program" schema >"$share/chatctl/chat.schema.json"
echo "Installed completions (bash, zsh, fish), man pages and the schema of chat.toml in $share"

if [ -e "$dest$config/chat.toml" ]; then
  echo "Kept      $dest$config/chat.toml"
else
  mkdir -p "$dest$config"
  install -m 644 chat.toml "$dest$config/chat.toml"
  echo "Installed $dest$config/chat.toml"
fi

if $systemd; then
  # Tells a systemd that is there of the unit; below DESTDIR none is.
  tell() { if [ -z "$dest" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi; }
  if $root; then units=/etc/systemd/system; user=(); else units="${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user"; user=(--user); fi
  mkdir -p "$dest$units"
  "$program" systemd "${user[@]}" --config "$dest$config/chat.toml" --program "$prefix/bin/chatctl" |
    sed "s|$dest$config/chat.toml|$config/chat.toml|g" >"$dest$units/.chatctl.service.$$"
  mv -f "$dest$units/.chatctl.service.$$" "$dest$units/chatctl.service"
  tell "${user[@]}" daemon-reload || echo "Note: systemd was not told; systemctl ${user[*]} daemon-reload does it."
  echo "Installed $dest$units/chatctl.service"
  echo "Next: systemctl ${user[*]:-} enable --now chatctl"
  $root || echo "To have it run while you are not logged in: loginctl enable-linger"
  exit 0
fi

run=chatctl
case ":$PATH:" in
  *":$prefix/bin:"*) ;;
  *) run="$prefix/bin/chatctl"; echo "Note: $prefix/bin is not on your PATH." ;;
esac
echo "Next: $run supervise"
