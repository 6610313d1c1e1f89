"""`python -m vitrine_api.openapi` prints the OpenAPI document of the JSON API."""

from __future__ import annotations

import json
import sys

from vitrine_api.app import routed


def openapi_text() -> str:
    """Return the document as JSON; equal code gives equal text."""
    return json.dumps(routed().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
