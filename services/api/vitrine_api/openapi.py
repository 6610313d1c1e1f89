"""`python -m vitrine_api.openapi [FILE]` writes the OpenAPI document of the JSON API; `-` prints it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vitrine_api.app import routed

DEFAULT = Path("docs/reference/openapi.json")


def openapi_text() -> str:
    """Return the document as JSON; equal code gives equal text."""
    return json.dumps(routed().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document."""
    target = sys.argv[1] if len(sys.argv) > 1 else str(DEFAULT)
    if target == "-":
        sys.stdout.write(openapi_text())
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(openapi_text())


if __name__ == "__main__":
    main()
