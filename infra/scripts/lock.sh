#!/usr/bin/env bash
# Resolves every member's requirements into hash-pinned locks that name no download address:
# one for the workspace (services, client, development tools) and one slim lock per service image.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${UV:-.venv/bin/uv}
members=(libs/common libs/engine libs/harness libs/client services/api services/builder services/runner services/trainer services/monitor)
names=(vitrine vitrine-common vitrine-engine vitrine-harness vitrine-api vitrine-builder vitrine-runner vitrine-trainer vitrine-monitor)
options=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate)
for name in "${names[@]}"; do options+=(--no-emit-package "$name"); done

"$uv" pip compile "${options[@]}" "$@" -o requirements.lock --group pyproject.toml:dev "${members[@]/%//pyproject.toml}"
for service in api builder runner trainer monitor; do
  # An image needs no package installer beside its own: the builder alone keeps uv, as its resolver.
  "$uv" pip compile "${options[@]}" -c requirements.lock -o "services/$service/requirements.lock" "services/$service/pyproject.toml"
done
