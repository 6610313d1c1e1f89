"""Documents as a long-lived instance has them: models, runs, checks of claims, scoring records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import (
    COLLECTIONS,
    ClaimCheck,
    ClaimCheckRequest,
    Model,
    Receipt,
    Run,
    RunRequest,
    ScoringRecord,
    ShareLink,
    Version,
)
from vitrine_common.documents.base import Document, to_bson
from vitrine_common.documents.run import Output, Timings
from vitrine_common.ids import new_id
from vitrine_common.settings import MongoSettings
from vitrine_common.spec import Spec
from vitrine_common.states import ClaimState, RunState, VersionState
from vitrine_common.store import Database

CLAIMS = 8
BATCH = 2000
SPEC: dict[str, Any] = {
    "name": "digits",
    "description": "Tells digits apart",
    "model": {"command": "python echo.py", "input": {"type": "flag"}},
    "inputs": [
        {"name": "text", "type": "text", "default": "hello"},
        {"name": "image", "type": "image", "required": False, "examples": ["a.png"]},
        {"name": "strength", "type": "number", "default": 0.5, "min": 0, "max": 1},
        {"name": "mode", "type": "choice", "choices": ["fast", "good"], "default": "good"},
    ],
    "claims": [
        {
            "name": f"accuracy-{number}",
            "statement": f"Accuracy on part {number}",
            "command": "python echo.py",
            "metric": {"file": "stdout", "key": "accuracy"},
            "expected": 0.9,
            "tolerance": 0.01,
        }
        for number in range(CLAIMS)
    ],
}


class History:
    """Writes documents in the name of whichever service writes them."""

    def __init__(self, settings: MongoSettings) -> None:
        self._settings = settings
        self._client: Any = AsyncIOMotorClient(settings.url)
        self._raw = self._client[settings.database]

    async def prepare(self, database: Database) -> None:
        """Create every index, also of what other services write."""
        await database.ensure_indexes(COLLECTIONS)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def write(self, documents: Iterable[Document]) -> None:
        """Store documents, of any kinds, in order."""
        waiting = iter(documents)
        while batch := list(islice(waiting, BATCH)):
            kinds: dict[str, list[Any]] = {}
            for document in batch:
                kinds.setdefault(document.COLLECTION, []).append(
                    {**to_bson(document), "outbox": {}, "outbox_count": 0}
                )
            for name, rows in kinds.items():
                await self._raw[name].insert_many(rows, ordered=False)


def runs(
    version: Version,
    number: int,
    link: ShareLink | None = None,
    visitor_id: str | None = None,
    *,
    minutes: int = 1,
) -> Iterator[Document]:
    """Return requests, runs and scoring records up to now, one every few minutes."""
    for index in range(number):
        at = utcnow() - timedelta(minutes=minutes * (index + 1))
        request = RunRequest(
            id=new_id("run"),
            created_at=at,
            version_id=version.id,
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
            user_id=None if link else version.owner_id,
            link_id=link.id if link else None,
            visitor_id=visitor_id,
            blind=bool(link and link.blind),
            inputs=canonical_json({"text": f"hello {index}", "strength": 0.5, "mode": "good"}).decode(),
            expires_at=at,
        )
        yield request
        yield _run(request)
        yield _receipt(request)
        yield ScoringRecord(
            id=request.id,
            created_at=at,
            version_id=version.id,
            version_digest=version.digest,
            link_id=request.link_id,
            outcome=RunState.SUCCEEDED,
            total_ms=20.0,
            compute_ms=10.0,
            finished_at=at,
        )


def _run(request: RunRequest) -> Run:
    at = request.created_at
    return Run(
        id=request.id,
        created_at=at,
        version_id=request.version_id,
        version_digest=request.version_digest,
        owner_id=request.owner_id,
        link_id=request.link_id,
        visitor_id=request.visitor_id,
        state=RunState.SUCCEEDED,
        outputs=[Output(name="label", type="text", value='"seven"')],
        timings=Timings(total_ms=20.0, compute_ms=10.0),
        log_tail="a line that the program printed\n" * 5,
        started_at=at,
        finished_at=at,
    )


def _receipt(request: RunRequest) -> Receipt:
    """Return a receipt that no page reads: were there none, the api would issue them while it is measured."""
    return Receipt(
        id=Receipt.id_of(request.id),
        created_at=request.created_at,
        subject_id=request.id,
        kind="run",
        owner_id=request.owner_id,
        version_id=request.version_id,
        link_id=request.link_id,
        visitor_id=request.visitor_id,
        key_id="",
        envelope="{}",
    )


def checks(version: Version, number: int, link: ShareLink, visitor_id: str) -> Iterator[Document]:
    """Return checks of the version's claims, by turns, a few of them by the visitor."""
    claims = Spec.model_validate(version.spec).claims or ()
    for index in range(number):
        claim, at = claims[index % len(claims)], utcnow() - timedelta(minutes=index + 1)
        mine = index < 5
        identifier = new_id("check")
        blind = link.blind
        yield ClaimCheckRequest(
            id=identifier,
            created_at=at,
            version_id=version.id,
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
            link_id=link.id,
            visitor_id=visitor_id if mine else "somebody",
            blind=blind,
            claim_name=claim.name,
            claim=claim.model_dump_json(),
            expires_at=at,
        )
        yield _check(version, identifier, claim.name, at, link)


def _check(version: Version, identifier: str, name: str, at: datetime, link: ShareLink) -> ClaimCheck:
    return ClaimCheck(
        id=identifier,
        created_at=at,
        version_id=version.id,
        claim_name=name,
        link_id=link.id,
        blind=link.blind,
        expires_at=at,
        state=ClaimState.REPRODUCED,
        expected=0.9,
        tolerance=0.01,
        measured=0.901,
        spread=0.001,
        started_at=at,
        finished_at=at,
        tally=f"{'blind/' if link.blind else ''}{name}:{ClaimState.REPRODUCED.value}",
    )


def models(owner_id: str, owner: str, number: int) -> Iterator[Document]:
    """Return models with one version each, ready to run."""
    for index in range(number):
        at = utcnow() - timedelta(minutes=index + 1)
        digest = sha256_bytes(str(index).encode())
        model = Model(
            id=new_id("model"),
            created_at=at,
            owner_id=owner_id,
            owner=owner,
            name=f"model-{index}",
            description="One of many",
            last_number=1,
        )
        yield model
        yield Version(
            id=new_id("version"),
            created_at=at,
            model_id=model.id,
            owner_id=owner_id,
            owner=owner,
            model=model.name,
            number=1,
            digest=digest,
            spec={**SPEC, "name": model.name},
            file_count=2,
            total_bytes=100,
            state=VersionState.READY,
            environment_digest=sha256_bytes(b"environment"),
            build_id=new_id("build"),
        )
