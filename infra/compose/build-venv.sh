#!/bin/sh
# Makes the virtual environment of one service's image: its own hash-pinned lock, then the local packages.
# usage: build-venv.sh SERVICE VENV LOCAL_PACKAGE…     (run in the repository's root)
set -eu
service=$1 venv=$2
shift 2
tools=$(mktemp -d)

# uv and the build backend in the versions and with the hashes of the workspace's lock.
awk '/^[a-zA-Z0-9]/ { mine = /^(uv|hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } mine' \
  requirements.lock >"$tools/requirements.txt"
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
  -r "$tools/requirements.txt"
eval "$("$tools/venv/bin/python" libs/common/vitrine_common/indexes.py)"
uv="$tools/venv/bin/uv"

"$tools/venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --wheel-dir "$tools/wheels" "$@"
"$uv" venv --quiet --python "$(command -v python3)" "$venv"
"$uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode --require-hashes \
  -r "services/$service/requirements.lock"
"$uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode --no-deps "$tools"/wheels/*.whl
rm -rf "$tools"
