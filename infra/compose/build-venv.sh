#!/bin/sh
# Makes what a service's image runs, in three steps that change ever more often (run in the repository's root):
#   build-venv.sh tools                    /opt/tools: uv and the build backend, hash-pinned by requirements.lock
#   build-venv.sh dependencies SERVICE     /opt/venv: the service's own lock, hash-pinned
#   build-venv.sh own LOCAL_PACKAGE…       /opt/vitrine: Vitrine's packages, found by /opt/venv
# Other images take single packages of the workspace's lock instead of a service's:
#   build-venv.sh picked NAME…             /opt/venv
# /etc/pip.conf and /run/secrets/certificates, where given, say where packages come from; neither is kept.
set -eu
export UV_LINK_MODE=copy PIP_DISABLE_PIP_VERSION_CHECK=1
# The wheel cache is a mount that images share and do not hold.
export UV_CACHE_DIR=/root/.cache/uv
certificates=/run/secrets/certificates
if grep -q 'BEGIN CERTIFICATE' "$certificates" 2>/dev/null; then
  export PIP_CERT="$certificates" SSL_CERT_FILE="$certificates"
fi
step=$1
shift

# Prints the named packages' pins of the workspace's lock, with their hashes.
pick() {
  awk -v "names= $* " '/^[a-zA-Z0-9]/ { split($0, pin, "=="); mine = index(names, " " pin[1] " ") } mine' \
    requirements.lock
}

make_venv() {
  eval "$(/opt/tools/bin/python libs/common/vitrine_common/indexes.py)"
  /opt/tools/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv
  /opt/tools/bin/uv pip install --quiet --python /opt/venv/bin/python --compile-bytecode --require-hashes -r "$1"
}

case $step in
tools)
  pick uv hatchling packaging pathspec pluggy trove-classifiers >/tmp/tools.txt
  python3 -m venv /opt/tools
  /opt/tools/bin/pip install --quiet --no-deps --require-hashes -r /tmp/tools.txt
  ;;
dependencies)
  make_venv "services/$1/requirements.lock"
  # Vitrine's own code is a layer of its own: a changed line replaces that layer alone.
  echo /opt/vitrine >/opt/venv/lib/python3.11/site-packages/vitrine.pth
  ;;
picked)
  pick "$@" >/tmp/picked.txt
  make_venv /tmp/picked.txt
  ;;
own)
  /opt/tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /tmp/wheels "$@"
  /opt/tools/bin/uv pip install --quiet --offline --python /opt/venv/bin/python --target /opt/vitrine --no-deps \
    --compile-bytecode /tmp/wheels/*.whl
  rm -rf /tmp/wheels
  ;;
esac
