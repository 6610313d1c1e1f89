#!/usr/bin/env bash
# Makes this machine ready: system packages, then .venv from the hash-pinned lock, then the workspace itself.
# usage: setup.sh demo|test   (test adds a browser and a Docker daemon, not started). Does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=${1:-test}
venv=.venv
members=(libs/common libs/engine libs/harness libs/client services/api services/builder services/runner services/trainer services/monitor)
unset PYTHONDONTWRITEBYTECODE PYTHONPATH VIRTUAL_ENV

say() { printf '%s\n' "setup: $*"; }
give_up() { printf '%s\n' "setup: $*" >&2; exit 1; }
has() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }
has_font() { [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || [ "$(uname)" = Darwin ]; }

has_library() { [ "$(uname)" = Darwin ] || PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | grep "$1" >/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-} python3.11 python3; do
    if has "$name" && "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

# Debian's names of what is missing.
missing_packages() {
  has nats-server || echo nats-server
  [ "$(uname)" != Linux ] || has bwrap || echo bubblewrap
  if [ -z "$python" ]; then
    echo python3.11 python3.11-venv
  elif [ ! -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo python3.11-venv
  fi
  if [ "$profile" = test ]; then
    has chromium || [ "$(uname)" = Darwin ] || echo chromium
    has_font || echo fonts-dejavu-core
    # The program that drives the browser needs it, and a minimal Debian has it not.
    has_library libatomic.so.1 || echo libatomic1
    # The docker engine, images and the base that they stand on are tested for real.
    if [ "$(uname)" = Linux ]; then
      has dockerd || echo docker.io
      has debootstrap || echo debootstrap
      has docker-registry || echo docker-registry
    fi
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

may_be_root() {
  [ "$(id -u)" = 0 ] || { has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }
}

apt_install() {
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  # The stack and the tests start their own servers: those that packages start are not wanted.
  local policy=/usr/sbin/policy-rc.d service
  if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"; fi
  # A fresh image has no package lists, and old ones name packages that are gone.
  local status=0
  as_root "${install[@]}" >/dev/null 2>&1 || { as_root apt-get update -q && as_root "${install[@]}"; } || status=$?
  [ -z "$policy" ] || as_root rm -f "$policy"
  if [ -d /run/systemd/system ]; then
    for service in nats-server docker-registry docker.io; do
      [[ " $* " != *" $service "* ]] || as_root systemctl disable --now "${service/%.io/.socket}" "${service%.io}" >/dev/null 2>&1 || true
    done
  fi
  return "$status"
}

install_packages() {
  local packages=("$@")
  if has apt-get && may_be_root; then
    say "installing ${packages[*]} (apt)"
    apt_install "${packages[@]}"
  elif has brew; then
    packages=("${packages[@]/python3.11-venv/}")
    packages=("${packages[@]/python3.11/python@3.11}")
    say "installing ${packages[*]} (Homebrew)"
    # shellcheck disable=SC2068 # emptied names must vanish
    brew install ${packages[@]}
  elif has apt-get; then
    give_up "this needs packages that only root can install. Type:
    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}
and run the same command again."
  else
    give_up "install these with your system's package manager, then run the same command again:
    ${packages[*]}   (Debian's names)"
  fi
}

# What the environment is made of: when it changes, the environment is brought up to date.
fingerprint() {
  { "$venv/bin/python" -VV 2>/dev/null || "$python" -VV; uname -sm; pwd; cat requirements.lock "$0" "${members[@]/%//pyproject.toml}"; } | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

make_venv() {
  if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    say "creating $venv with $("$python" -V)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
}

# uv in the version of the lock and by its hashes, from wherever pip is configured to look.
install_uv() {
  local wanted
  wanted=$(mktemp)
  awk '/^[a-zA-Z0-9]/ { mine = /^uv==/ } mine' requirements.lock >"$wanted"
  [ -s "$wanted" ] || give_up "requirements.lock names no uv; run \`make lock\`."
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$wanted"
  rm -f "$wanted"
}

install_workspace() {
  local editable=() member
  for member in "${members[@]}"; do editable+=(-e "$member"); done
  # uv reads none of pip's configuration: a mirror or a folder of wheels is passed on.
  eval "$("$venv/bin/python" libs/common/vitrine_common/indexes.py)"
  local install=("$venv/bin/uv" pip install --quiet --python "$venv/bin/python")
  say "installing $(grep -c '==' requirements.lock) packages from requirements.lock"
  "${install[@]}" --require-hashes -r requirements.lock
  "${install[@]}" --no-deps --no-build-isolation "${editable[@]}"
}

python=$(find_python)
read -r -a missing <<<"$(missing_packages | tr '\n' ' ')"
if [ "${#missing[@]}" -gt 0 ]; then
  install_packages "${missing[@]}"
  python=$(find_python)
fi
[ -n "$python" ] || give_up "Python 3.11 was not found; install it, or name one: PYTHON=/path/to/python3.11 make …"

stamp=$venv/.workspace-fingerprint
now=$(fingerprint)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$now" ] || [ ! -x "$venv/bin/vitrine" ]; then
  make_venv
  install_uv
  install_workspace
  fingerprint >"$stamp"
  say "ready"
fi
