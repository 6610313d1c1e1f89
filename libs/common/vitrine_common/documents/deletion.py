"""What was deleted, so that it stays so: also after a restore of an older backup."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from vitrine_common.clock import utcnow
from vitrine_common.documents.base import Index, Leased

DeletionKind = Literal["account", "model", "version", "link", "dataset"]


class Deletion(Leased):
    """A wish to delete something, carried out by a task until nothing is left. Kept as a tombstone.

    Only ids stand here, no name or address: a tombstone must not keep what it is there to delete.
    """

    COLLECTION: ClassVar[str] = "deletions"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("done", 1), ("due_at", 1))),
        Index(keys=(("subject_id", 1),)),
    )

    kind: DeletionKind
    subject_id: str
    owner_id: str
    version_digest: str = ""
    build_id: str = ""
    done: bool = False
    due_at: datetime = Field(default_factory=utcnow)
    problem: str = ""


class DoomedBlob(Leased):
    """A blob that something deleted referred to. `_id` is its digest.

    It goes when it is due and nothing refers to it any more. `leaving` is set before that is looked up,
    and whoever grants the digest afterwards is told to send the bytes again.
    """

    COLLECTION: ClassVar[str] = "doomed_blobs"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("due_at", 1),)),)

    due_at: datetime
    leaving: bool = False
