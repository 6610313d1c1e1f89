"""Models, their versions and uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from vitrine_common.clock import utcnow
from vitrine_common.documents.base import Document, Index
from vitrine_common.states import VersionState


class Model(Document):
    """A name under which an owner keeps versions."""

    COLLECTION: ClassVar[str] = "models"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("owner_id", 1), ("name", 1)), unique=True),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("updated_at", -1))),
    )

    owner_id: str
    owner: str
    name: str
    description: str = ""
    last_number: int = 0
    updated_at: datetime = Field(default_factory=utcnow)
    """When its newest version was made."""
    newest_id: str = ""
    """Of that version, so that lists find it at once; a version that was refused after all is not there."""


class Lineage(BaseModel):
    """Where a version comes from."""

    trial_id: str
    source_digest: str
    environment_digest: str
    metrics: dict[str, float] = {}


PASSING_REASONS = frozenset({"index_unreachable", "disk_full", "timeout", "internal"})
"""Why a build may fail though nothing of what was pushed is at fault: the same may be made later."""


class BuildProblem(BaseModel):
    """Why the environment cannot be made, for a person."""

    reason: str
    message: str
    culprit: str | None = None
    log_tail: str = ""

    @property
    def passes(self) -> bool:
        """Whether the same may be made later, without a change."""
        return self.reason in PASSING_REASONS


class Version(Document):
    """An immutable bundle with its specification.

    `digest` is the SHA-256 of the canonical manifest, which is stored as the blob of that digest.
    """

    COLLECTION: ClassVar[str] = "versions"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("model_id", 1), ("digest", 1)), unique=True),
        Index(keys=(("model_id", 1), ("number", 1)), unique=True),
        Index(keys=(("model_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("state", 1), ("created_at", -1))),
        Index(keys=(("build_id", 1),)),
        Index(keys=(("digest", 1),)),
        Index(keys=(("spec.scaling.min", 1),)),
    )

    model_id: str
    owner_id: str
    owner: str
    model: str
    number: int
    digest: str
    spec: dict[str, Any]
    file_count: int
    total_bytes: int
    state: VersionState = VersionState.DRAFT
    updated_at: datetime | None = None
    build_id: str | None = None
    environment_digest: str | None = None
    build_problem: BuildProblem | None = None
    warnings: list[str] = []
    lineage: Lineage | None = None

    @property
    def reference(self) -> str:
        """`owner/model@number`."""
        return f"{self.owner}/{self.model}@{self.number}"


class Upload(Document):
    """A blob on its way: parts go to staging, then a service checks and adopts them."""

    COLLECTION: ClassVar[str] = "uploads"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("expires_at", 1),)),)

    user_id: str
    digest: str
    size: int
    parts: int
    expires_at: datetime


class BlobGrant(Document):
    """A principal who brought these bytes, so that for them the digest counts as present.

    `_id` is `<user id>:<digest>`: digests are names, not permissions.
    """

    COLLECTION: ClassVar[str] = "blob_grants"
    WRITER: ClassVar[str] = "api"

    user_id: str
    digest: str
    size: int
