"""From the facts of a run or a checked claim to what its receipt says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from vitrine_common.documents.run import Conditions, Timings
from vitrine_common.receipts import commitments
from vitrine_common.receipts.commitments import Domain
from vitrine_common.receipts.predicates import (
    CLAIM_TYPE,
    RUN_TYPE,
    ClaimPredicate,
    ClaimRun,
    ClaimStatement,
    Commitments,
    DigestSet,
    EnvironmentPart,
    Hardware,
    Instance,
    Resource,
    RunPredicate,
    RunStatement,
    Timing,
)
from vitrine_common.receipts.times import as_text

_TOLD_OF_CLAIMS = frozenset(
    {"name", "statement", "expected", "tolerance", "direction", "repeats", "unit", "row", "column"}
)
"""What the page of a blind link shows of a claim, too."""


@dataclass(frozen=True)
class Artifact:
    """A value or file with its digest (`sha256:…`)."""

    name: str
    digest: str
    size: int | None = None
    media_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What the receipts of runs and claims have in common."""

    reference: str = ""
    """`owner/model@number`, for people; blind receipts leave it out."""
    version_digest: str
    environment_digest: str
    spec_digest: str
    conditions: Conditions | None = None
    python: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunFacts(Basis):
    """A finished run."""

    run_id: str
    state: str
    reason: str | None = None
    exit_code: int | None = None
    cold: bool | None = None
    timings: Timings = field(default_factory=Timings)
    inputs: Sequence[Artifact] = ()
    outputs: Sequence[Artifact] = ()


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """One of the repeats behind a claim's verdict."""

    run_id: str
    state: str
    reason: str | None = None
    measured: float | None = None
    compute_ms: float | None = None
    outputs: Sequence[Artifact] = ()


@dataclass(frozen=True, kw_only=True)
class ClaimFacts(Basis):
    """A claim whose check is over."""

    check_id: str
    claim: Mapping[str, Any]
    verdict: str
    expected: float | None = None
    tolerance: float | None = None
    measured: float | None = None
    spread: float | None = None
    dataset: Artifact | None = None
    added: Sequence[Artifact] = ()
    runs: Sequence[RunPart] = ()
    duration_ms: float | None = None


@dataclass(frozen=True)
class Issuer:
    """Who issues, with which key, and when."""

    url: str
    key_id: str
    at: datetime


class Disclosure(Protocol):
    """How much a receipt tells of what its facts name."""

    @property
    def commitments(self) -> Commitments | None:
        """How commitments are made, where digests are not told."""
        ...

    def digest(self, domain: Domain, digest: str) -> DigestSet:
        """Return what stands for a digest."""
        ...

    def name(self, domain: Domain, index: int, name: str) -> str:
        """Return what stands for a name."""
        ...

    def claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is told of a claim as its author wrote it."""
        ...


class Open:
    """Everything by its own digest and name."""

    commitments = None

    def digest(self, domain: Domain, digest: str) -> DigestSet:  # noqa: ARG002 - the protocol's
        """Return the digest as in-toto writes it."""
        return {"sha256": digest.removeprefix("sha256:")}

    def name(self, domain: Domain, index: int, name: str) -> str:  # noqa: ARG002 - the protocol's
        """Return the name."""
        return name

    def claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole claim."""
        return dict(claim)


class Blind:
    """Commitments under the key of a link, and names that say nothing.

    Args:
        key: the link's, secret until somebody opens it.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.commitments = Commitments(key=commitments.key_digest(key))

    def digest(self, domain: Domain, digest: str) -> DigestSet:
        """Return the commitment to the digest."""
        value = commitments.commit(self._key, domain, digest)
        return {commitments.ALGORITHM: value.removeprefix(commitments.PREFIX)}

    def name(self, domain: Domain, index: int, name: str) -> str:  # noqa: ARG002 - a name tells its author
        """Return `output 1`."""
        return domain if index < 0 else f"{domain} {index + 1}"

    def claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """Return what readers of a blind page see, too; commands, paths and datasets tell their author."""
        return {name: value for name, value in claim.items() if name in _TOLD_OF_CLAIMS}


def run_statement(facts: RunFacts, issuer: Issuer, disclosure: Disclosure) -> dict[str, Any]:
    """Return the statement of a finished run."""
    resources = _namer(disclosure)
    outputs = resources("output", facts.outputs)
    predicate = RunPredicate(
        **_basis(facts, issuer, disclosure),
        verdict=facts.state,
        run_id=facts.run_id,
        reason=facts.reason,
        exit_code=facts.exit_code,
        cold=facts.cold,
        timing=_timing(facts, facts.timings),
        inputs=resources("input", facts.inputs),
        outputs=outputs,
    )
    subject = outputs or [predicate.bundle]
    return RunStatement(subject=subject, predicate_type=RUN_TYPE, predicate=predicate).document()


def claim_statement(facts: ClaimFacts, issuer: Issuer, disclosure: Disclosure) -> dict[str, Any]:
    """Return the statement of a claim that was checked."""
    resources = _namer(disclosure)
    dataset = resources("dataset", [facts.dataset])[0] if facts.dataset else None
    runs = [
        ClaimRun(
            run_id=run.run_id,
            state=run.state,
            reason=run.reason,
            measured=run.measured,
            compute_ms=run.compute_ms,
            outputs=resources("output", run.outputs),
        )
        for run in facts.runs
    ]
    predicate = ClaimPredicate(
        **_basis(facts, issuer, disclosure),
        verdict=facts.verdict,
        check_id=facts.check_id,
        claim=disclosure.claim(facts.claim),
        expected=facts.expected,
        tolerance=facts.tolerance,
        measured=facts.measured,
        spread=facts.spread,
        dataset=dataset,
        added=resources("input", facts.added),
        runs=runs,
        timing=_timing(facts, Timings(total_ms=facts.duration_ms)),
    )
    return ClaimStatement(
        subject=[predicate.bundle], predicate_type=CLAIM_TYPE, predicate=predicate
    ).document()


def _namer(disclosure: Disclosure) -> Callable[[Domain, Sequence[Artifact]], list[Resource]]:
    def resources(domain: Domain, artifacts: Sequence[Artifact]) -> list[Resource]:
        return [
            Resource(
                name=disclosure.name(domain, index, artifact.name),
                digest=disclosure.digest(domain, artifact.digest),
                size=artifact.size,
                media_type=artifact.media_type,
            )
            for index, artifact in enumerate(artifacts)
        ]

    return resources


def _basis(facts: Basis, issuer: Issuer, disclosure: Disclosure) -> dict[str, Any]:
    conditions = facts.conditions
    image = conditions.image if conditions else None
    return {
        "instance": Instance(url=issuer.url, key_id=issuer.key_id),
        "issued_at": as_text(issuer.at),
        "bundle": Resource(
            name=disclosure.name("bundle", -1, facts.reference or "bundle"),
            digest=disclosure.digest("bundle", facts.version_digest),
        ),
        "spec": disclosure.digest("spec", facts.spec_digest),
        "environment": EnvironmentPart(
            digest=disclosure.digest("environment", facts.environment_digest),
            image=disclosure.digest("image", image) if image else None,
            python=facts.python,
        ),
        "harness": disclosure.digest("harness", conditions.harness) if conditions else None,
        "engine": conditions.engine if conditions else None,
        "platform": conditions.platform if conditions else None,
        "hardware": _hardware(conditions) if conditions else None,
        "commitments": disclosure.commitments,
    }


def _hardware(conditions: Conditions) -> Hardware:
    return Hardware(
        cpu=conditions.cpu,
        cores=conditions.cores,
        memory_bytes=conditions.memory_bytes,
        gpus=conditions.gpus,
        cpu_limit=conditions.cpu_limit,
        memory_limit=conditions.memory_limit,
    )


def _timing(facts: Basis, timings: Timings) -> Timing:
    return Timing(
        created_at=as_text(facts.created_at),
        started_at=as_text(facts.started_at) if facts.started_at else None,
        finished_at=as_text(facts.finished_at) if facts.finished_at else None,
        **timings.model_dump(),
    )
