#!/usr/bin/env bash
# Documents that are generated from the code and committed.
# usage: generated.sh write|check   (check fails, showing the difference, when one is not fresh)
set -euo pipefail
cd "$(dirname "$0")/../.."
mode=${1:?write or check}
# What writes a document, as arguments of Python, and the document.
programs=("-m vitrine_common.messages.asyncapi" "-m vitrine_common.spec.schema" "-m vitrine_common.spec.reference"
  "-m vitrine.cli.reference" "-m vitrine_api.openapi" "infra/scripts/settings_reference.py"
  "-m vitrine_common.receipts.schema")
files=(docs/reference/asyncapi.json docs/reference/vitrine.schema.json docs/reference/vitrine-yaml.md
  docs/reference/cli.md docs/reference/openapi.json docs/reference/settings.md
  docs/reference/receipt.schema.json)

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
status=0
for index in "${!files[@]}"; do
  read -ra program <<<"${programs[$index]}"
  .venv/bin/python "${program[@]}" >"$fresh"
  if [ "$mode" = write ]; then
    mkdir -p "$(dirname "${files[$index]}")"
    cp "$fresh" "${files[$index]}"
  elif ! diff -u "${files[$index]}" "$fresh"; then
    echo "${files[$index]} is not what the code says; run infra/scripts/generated.sh write" >&2
    status=1
  fi
done
exit "$status"
