"""Datasets that claims are checked on: named by their owner, told apart by number and digest."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.documents.base import Document, Index


class Dataset(Document):
    """A name under which an owner keeps versions of a dataset."""

    COLLECTION: ClassVar[str] = "datasets"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("owner_id", 1), ("name", 1)), unique=True),)

    owner_id: str
    owner: str
    name: str
    last_number: int = 0


class DatasetVersion(Document):
    """An immutable set of files. `digest` is that of its canonical manifest, the blob of that digest."""

    COLLECTION: ClassVar[str] = "dataset_versions"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("dataset_id", 1), ("digest", 1)), unique=True),
        Index(keys=(("dataset_id", 1), ("number", 1)), unique=True),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
    )

    dataset_id: str
    owner_id: str
    owner: str
    name: str
    number: int
    digest: str
    file_count: int
    total_bytes: int
    private: bool = False
    """Whether those who check a claim on it learn nothing of it but its name and digest."""

    @property
    def reference(self) -> str:
        """`owner/name@number`."""
        return f"{self.owner}/{self.name}@{self.number}"
