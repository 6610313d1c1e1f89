#!/usr/bin/env bash
# Documents that are generated from the code and committed.
# usage: generated.sh write|check   (check fails, showing the difference, when one is not fresh)
set -euo pipefail
cd "$(dirname "$0")/../.."
mode=${1:?write or check}
modules=(vitrine_common.messages.asyncapi vitrine_common.spec.schema vitrine_common.spec.reference
  vitrine.cli.reference)
files=(docs/reference/asyncapi.json docs/reference/vitrine.schema.json docs/reference/vitrine-yaml.md
  docs/reference/cli.md)

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
status=0
for index in "${!files[@]}"; do
  .venv/bin/python -m "${modules[$index]}" >"$fresh"
  if [ "$mode" = write ]; then
    mkdir -p "$(dirname "${files[$index]}")"
    cp "$fresh" "${files[$index]}"
  elif ! diff -u "${files[$index]}" "$fresh"; then
    echo "${files[$index]} is not what the code says; run infra/scripts/generated.sh write" >&2
    status=1
  fi
done
exit "$status"
