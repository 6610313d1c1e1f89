"""What receipts say: in-toto Statements (v1) and our two predicates, as their schema is published."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
RUN_TYPE = "urn:vitrine:receipt:run:v1"
CLAIM_TYPE = "urn:vitrine:receipt:claim:v1"

DigestSet = dict[str, str]
"""`{"sha256": HEX}`, or `{"vitrineCommitment": HEX}` where the digest itself is not told."""


class Part(BaseModel):
    """Base of everything in a receipt: camelCase names, what is not known is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def document(self) -> dict[str, Any]:
        """Return the JSON of it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Resource(Part):
    """Something that has a digest (in-toto ResourceDescriptor)."""

    name: str
    digest: DigestSet
    size: int | None = Field(default=None, description="In bytes.")
    media_type: str | None = None


class Instance(Part):
    """Who issued the receipt."""

    url: str = Field(description="How people reach the platform that issued the receipt.")
    key_id: str = Field(description="The key that signed it: SHA-256 of the JWK's required members.")


class Hardware(Part):
    """The machine, as far as it bears on a result. Nothing here names one machine among equal ones."""

    cpu: str | None = Field(default=None, description="Model of the processor.")
    cores: int | None = Field(default=None, description="Logical processors of the host.")
    memory_bytes: int | None = Field(default=None, description="Memory of the host.")
    gpus: list[str] = Field(default=[], description="Models of the GPUs that the run was shown.")
    cpu_limit: float | None = Field(default=None, description="Cores that the sandbox could use.")
    memory_limit: int | None = Field(default=None, description="Memory that the sandbox could use, bytes.")


class EnvironmentPart(Part):
    """The packages that the code ran with."""

    digest: DigestSet = Field(description="Over lock, Python, platform and format.")
    image: DigestSet | None = Field(default=None, description="Of the container image, where there was one.")
    python: str | None = None


class Commitments(Part):
    """Present where digests are not told: how the commitments were made."""

    scheme: Literal["HMAC-SHA-256"] = "HMAC-SHA-256"
    key: str = Field(description="SHA-256 of the secret key, so that only this one opens the receipt.")


class Basis(Part):
    """What runs and claims have in common."""

    instance: Instance
    issued_at: str
    verdict: str
    bundle: Resource = Field(description="The version: its manifest's digest.")
    spec: DigestSet = Field(description="SHA-256 of the canonical JSON of the model file.")
    environment: EnvironmentPart
    harness: DigestSet | None = Field(default=None, description="The code that ran inside the sandbox.")
    engine: str | None = Field(default=None, description="What kept the run apart: process, docker, …")
    platform: str | None = Field(default=None, description="Operating system, machine and C library.")
    hardware: Hardware | None = None
    dataset: Resource | None = None
    commitments: Commitments | None = None


class Timing(Part):
    """When and how long; durations in milliseconds."""

    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    queued_ms: float | None = None
    start_ms: float | None = None
    compute_ms: float | None = None
    save_ms: float | None = None
    total_ms: float | None = None


class RunPredicate(Basis):
    """One run. `verdict` is its final state: `succeeded` or `failed`."""

    run_id: str
    reason: str | None = Field(default=None, description="Why it failed.")
    exit_code: int | None = None
    cold: bool | None = Field(default=None, description="Whether a sandbox had to be started for it.")
    timing: Timing
    inputs: list[Resource]
    outputs: list[Resource]


class ClaimRun(Part):
    """One of the repeats behind a claim's verdict."""

    run_id: str | None = None
    state: str
    reason: str | None = None
    measured: float | None = None
    compute_ms: float | None = None
    outputs: list[Resource] = []


class ClaimPredicate(Basis):
    """A claim that was checked. `verdict` is `reproduced`, `differs` or `failed`."""

    check_id: str
    claim: dict[str, Any] = Field(description="As the author wrote it.")
    expected: float | None = None
    tolerance: float | None = None
    measured: float | None = None
    spread: float | None = None
    added: list[Resource] = Field(default=[], description="Inputs that whoever checked it added.")
    runs: list[ClaimRun]
    timing: Timing


P = TypeVar("P", RunPredicate, ClaimPredicate)


class Statement(Part, Generic[P]):
    """An in-toto Statement v1 (in-toto/attestation, spec v1)."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: list[Resource] = Field(
        min_length=1, description="The outputs; for a run without any, and for a claim, the bundle."
    )
    predicate_type: str
    predicate: P


class RunStatement(Statement[RunPredicate]):
    """What the receipt of a run says."""


class ClaimStatement(Statement[ClaimPredicate]):
    """What the receipt of a claim's check says."""


KINDS: dict[str, type[RunStatement | ClaimStatement]] = {
    RUN_TYPE: RunStatement,
    CLAIM_TYPE: ClaimStatement,
}
