"""Builds and the environments that they make."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel

from vitrine_common.documents.base import LONG_AGO, Document, Index, Leased, WorkDocument
from vitrine_common.documents.model import BuildProblem
from vitrine_common.messages.build import EnvironmentRequest
from vitrine_common.states import BuildState


class Build(WorkDocument):
    """One answer to `build.start`.

    A build that succeeded is at the step `bytecode` until all bytecode of its environment is there, too.
    """

    COLLECTION: ClassVar[str] = "builds"
    WRITER: ClassVar[str] = "builder"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
        Index(keys=(("environment_digest", 1),)),
    )

    request: EnvironmentRequest
    correlation_id: str | None = None
    trace: dict[str, str] = {}
    state: BuildState = BuildState.QUEUED
    step: str = "queued"
    environment_digest: str | None = None
    problem: BuildProblem | None = None
    timings_ms: dict[str, float] = {}
    reused: bool = False
    finished_at: datetime | None = None


class EnvironmentLayer(BaseModel):
    """One layer of an environment's image, from the bottom up.

    Attributes:
        diff_id: digest of the layer as an uncompressed tar, as image formats name it.
        size_bytes: of that tar.
        kind: the base, system packages, wheels, or what every environment has (`meta`).
        packages: `name==version` of what is in it, where it holds wheels.
        reused: it existed before the build that made this environment.
    """

    diff_id: str
    size_bytes: int
    kind: Literal["base", "system", "wheels", "meta"]
    packages: list[str] = []
    reused: bool = False


class EnvironmentWheel(BaseModel):
    """One wheel of an environment, unpacked and compiled once for all that name it.

    Attributes:
        digest: names what was made of the wheel on this platform, by this interpreter.
        size_bytes: of its files, without bytecode.
        reused: it existed before the build that made this environment.
    """

    name: str
    version: str
    digest: str
    size_bytes: int
    reused: bool = False


class Environment(Leased):
    """An environment that exists; `_id` is its digest. `lock` is the requirements text with hashes.

    `image_digest` (of the OCI config, so the image's id), `base_digest` and `layers` are there once an
    image was assembled; they are written with `ready_at`, or when a later build asks for the image.
    `system` are its Debian packages as `name=version`, `system_digest` names the layer that holds them.
    `sources` are the hashes of the source distributions that wheels were built from, by package.
    `sbom_digest` and `provenance_digest` name blobs: a CycloneDX document, and an in-toto statement that is
    signed by whoever serves it. They and `wheels` are written after `ready_at`, and before a build succeeds.
    `replica_digest` names what other hosts put it together from, once one has asked.
    """

    COLLECTION: ClassVar[str] = "environments"
    WRITER: ClassVar[str] = "builder"

    lock: str
    packages: int
    python: str
    size_bytes: int = 0
    ready_at: datetime | None = None
    image_digest: str | None = None
    base_digest: str | None = None
    layers: list[EnvironmentLayer] = []
    system_digest: str | None = None
    system: list[str] = []
    sources: dict[str, str] = {}
    wheels: list[EnvironmentWheel] = []
    sbom_digest: str | None = None
    provenance_digest: str | None = None
    replica_digest: str | None = None


class PackedPart(Document):
    """A layer, its bytecode, a root file system or a replica, packed for other hosts; `_id` names it.

    `used_at` is when a builder last told somebody of it: what was not used for longest goes first.
    `asked_at` is when another host last wanted it, long ago where it was only packed ahead.
    """

    COLLECTION: ClassVar[str] = "packed_parts"
    WRITER: ClassVar[str] = "builder"

    digest: str
    size_bytes: int
    unpacked_bytes: int
    used_at: datetime
    asked_at: datetime = LONG_AGO
