"""Handing checks that ended to the receipts, once each, also those whose fact was lost."""

from __future__ import annotations

import asyncio
import json
import logging

from vitrine_api.claims.repository import Checks
from vitrine_api.receipts.issuing import Receipts
from vitrine_api.receipts.signing import NoSigningKey
from vitrine_common.digests import digest_of_json
from vitrine_common.documents import (
    ClaimCheck,
    ClaimCheckRequest,
    Environment,
    Receipt,
    Repeat,
    Version,
)
from vitrine_common.errors import NotFound
from vitrine_common.receipts.statement import Artifact, ClaimFacts, RunPart
from vitrine_common.states import VERDICTS

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 60.0
_LOOK_BACK_SECONDS = 24 * 3600.0


class Attesting:
    """Has a receipt issued for every check with a verdict."""

    def __init__(self, checks: Checks, receipts: Receipts) -> None:
        self._checks = checks
        self._receipts = receipts

    async def checked(self, check_id: str) -> Receipt | None:
        """Return the receipt of a check, issued unless there is one; None where none is due.

        Raises NotFound for what was deleted, NoSigningKey.
        """
        check = await self._checks.check(check_id)
        if check is None or check.state not in VERDICTS:
            return None
        request = await self._checks.requests.get(check_id)
        version = await self._checks.version(request.version_id)
        if version is None:
            raise NotFound(f"there is no version {request.version_id}")
        environment = await self._checks.environment(request.environment_digest)
        return await self._receipts.issue_claim(
            claim_facts(request, check, version, environment),
            owner_id=request.owner_id,
            version_id=request.version_id,
            link_id=request.link_id,
            visitor_id=request.visitor_id,
            user_id=request.user_id,
        )

    async def catch_up_forever(self) -> None:
        """Have receipts issued, until cancelled, that no message tells of any more."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            try:
                await self.catch_up()
            except Exception:
                log.exception("receipts of checks will be looked for again")

    async def catch_up(self) -> int:
        """Issue what is due; return how many receipts that were."""
        issued = 0
        for check in await self._checks.recently_ended(_LOOK_BACK_SECONDS):
            if await self._receipts.of(check.id) is not None:
                continue
            try:
                issued += await self.checked(check.id) is not None
            except NoSigningKey:
                return issued
            except NotFound:
                continue  # deleted together with its model
        return issued


def claim_facts(
    request: ClaimCheckRequest, check: ClaimCheck, version: Version, environment: Environment | None
) -> ClaimFacts:
    """Return what a receipt says of a check."""
    dataset = request.dataset
    began, ended = check.started_at, check.finished_at
    return ClaimFacts(
        check_id=check.id,
        reference=version.reference,
        claim=json.loads(request.claim),
        verdict=check.state.value,
        expected=check.expected,
        tolerance=check.tolerance,
        measured=check.measured,
        spread=check.spread,
        version_digest=request.version_digest,
        environment_digest=request.environment_digest,
        spec_digest=digest_of_json(version.spec),
        dataset=Artifact(name=dataset.name, digest=dataset.digest) if dataset else None,
        added=[Artifact(name=item.name, digest=item.digest, size=item.size) for item in request.own_inputs],
        runs=[_part(check.id, index, repeat) for index, repeat in enumerate(check.repeats, 1)],
        conditions=check.conditions,
        python=environment.python if environment else None,
        created_at=request.created_at,
        started_at=began,
        finished_at=ended,
        duration_ms=(ended - began).total_seconds() * 1000 if began and ended else None,
    )


def _part(check_id: str, index: int, repeat: Repeat) -> RunPart:
    return RunPart(
        run_id=f"{check_id}.{index}",
        state="failed" if repeat.reason else "succeeded",
        reason=repeat.reason.value if repeat.reason else None,
        measured=repeat.value,
        compute_ms=repeat.duration_ms,
    )
