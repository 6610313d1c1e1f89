"""Datasets, as rows."""

from __future__ import annotations

from vitrine_api import views
from vitrine_common.documents import DatasetVersion


def dataset_row(version: DatasetVersion) -> views.DatasetRow:
    """Return a version of a dataset as a row."""
    return views.DatasetRow(
        owner=version.owner,
        name=version.name,
        number=version.number,
        digest=version.digest,
        files=version.file_count,
        size=version.total_bytes,
        created_at=version.created_at,
        private=version.private,
    )
