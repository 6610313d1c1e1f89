"""Datasets, as their owner sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.models import FileRow
from vitrine_api.views.page import Paging, View


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """A version of a dataset."""

    owner: str
    name: str
    number: int
    digest: str
    files: int
    size: int
    """Bytes of all its files."""
    created_at: datetime
    private: bool = False
    """Whether those who check a claim on it learn nothing of its content."""

    @property
    def title(self) -> str:
        """`owner/name@number`."""
        return f"{self.owner}/{self.name}@{self.number}"

    @property
    def url(self) -> str:
        """Where it is looked at."""
        return f"/datasets/{self.owner}/{self.name}/{self.number}"


@dataclass(frozen=True, kw_only=True)
class Datasets(View):
    """`/datasets`: every version of one's datasets, the newest first."""

    template: ClassVar[str] = "datasets.html"

    rows: tuple[DatasetRow, ...]
    paging: Paging = field(default_factory=Paging)


@dataclass(frozen=True, kw_only=True)
class DatasetPage(View):
    """`/datasets/OWNER/NAME/VERSION`."""

    template: ClassVar[str] = "dataset.html"

    row: DatasetRow
    files: tuple[FileRow, ...]
