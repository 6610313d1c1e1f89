"""The committed OpenAPI document is the one that the code makes."""

from __future__ import annotations

from pathlib import Path

from vitrine_api.openapi import openapi_text

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def test_the_committed_document_is_up_to_date() -> None:
    assert COMMITTED.read_text() == openapi_text(), "run infra/scripts/generated.sh write"
