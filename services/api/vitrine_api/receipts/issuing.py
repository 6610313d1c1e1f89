"""Issuing receipts, once each, and handing them out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

from vitrine_api.policy import Action, Member, Principal, require
from vitrine_api.receipts.facts import run_facts
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_api.receipts.signing import Signer
from vitrine_common.clock import utcnow
from vitrine_common.digests import digest_of_json
from vitrine_common.documents import Receipt, Run, RunRequest, ShareLink
from vitrine_common.errors import NotFound
from vitrine_common.receipts.commitments import key_of
from vitrine_common.receipts.openings import Claimed, Opening
from vitrine_common.receipts.statement import (
    Blind,
    ClaimFacts,
    Disclosure,
    Issuer,
    Open,
    claim_statement,
    run_statement,
)
from vitrine_common.states import RunState

log = logging.getLogger(__name__)

ATTESTED = frozenset({RunState.SUCCEEDED, RunState.FAILED})
"""Ends that a receipt is issued for; what was cancelled or never began has shown nothing."""
_OPENED_RUNS = 200
_Statement = Callable[[Issuer, Disclosure], dict[str, Any]]


class Receipts:
    """Issues receipts and reads them.

    Args:
        repository: where they are kept.
        signer: the instance's key.
        url: how people reach the instance; stands in every receipt.
    """

    def __init__(self, repository: ReceiptRepository, signer: Signer, url: str) -> None:
        self._repository = repository
        self._url = url
        self.signer = signer

    async def of(self, subject_id: str) -> Receipt | None:
        """Return the receipt of a run or check, or None."""
        return await self._repository.receipt(subject_id)

    async def issue_run(self, run_id: str) -> Receipt | None:
        """Return the receipt of a run, issued unless there is one; None while, or when, none is due.

        Raises NotFound for what was deleted, NoSigningKey.
        """
        there = await self.of(run_id)
        if there is not None:
            return there
        request, run = await self._repository.run(run_id)
        if run.state not in ATTESTED:
            return None
        version = await self._repository.version(run.version_id)
        environment = await self._repository.environment(request.environment_digest)
        facts = run_facts(request, run, version, environment)
        return await self._issue(
            lambda issuer, disclosure: run_statement(facts, issuer, disclosure),
            run_id,
            "run",
            owner_id=run.owner_id,
            version_id=run.version_id,
            link_id=run.link_id,
            visitor_id=run.visitor_id,
            user_id=request.user_id,
        )

    async def issue_claim(
        self,
        facts: ClaimFacts,
        *,
        owner_id: str,
        version_id: str,
        link_id: str | None = None,
        visitor_id: str | None = None,
        user_id: str | None = None,
    ) -> Receipt:
        """Return the receipt of a claim's check, issued unless there is one. Raises NoSigningKey."""
        there = await self.of(facts.check_id)
        if there is not None:
            return there
        return await self._issue(
            lambda issuer, disclosure: claim_statement(facts, issuer, disclosure),
            facts.check_id,
            "claim",
            owner_id=owner_id,
            version_id=version_id,
            link_id=link_id,
            visitor_id=visitor_id,
            user_id=user_id,
        )

    async def _issue(
        self, statement: _Statement, subject_id: str, kind: Literal["run", "claim"], **whose: Any
    ) -> Receipt:
        """Sign and store: whoever comes second gets what the first one stored."""
        disclosure = await self._disclosure(whose["link_id"])
        key = await self.signer.current()
        envelope = key.sign(statement(Issuer(self._url, key.id, utcnow()), disclosure))
        receipt = Receipt(
            id=Receipt.id_of(subject_id),
            subject_id=subject_id,
            kind=kind,
            blind=disclosure.commitments is not None,
            key_id=key.id,
            envelope=envelope.to_bytes().decode(),
            **whose,
        )
        return await self._repository.add(receipt)

    async def _disclosure(self, link_id: str | None) -> Disclosure:
        """Return how much may be told; of a deleted link nobody knows any more, so nothing."""
        if link_id is None:
            return Open()
        link = await self._repository.link(link_id)
        return Blind(key_of(link.key)) if link.blind else Open()

    async def read(self, principal: Principal, request: RunRequest) -> Receipt:
        """Return the receipt of a run for whoever may open the run.

        Raises NotFound where none is due, Denied, NoSigningKey.
        """
        require(principal, Action.OPEN, request)
        try:
            receipt = await self.issue_run(request.id)
        except NotFound:
            receipt = None
        if receipt is None:
            raise NotFound(f"run {request.id} has no receipt: one is issued when a run succeeds or fails")
        return receipt

    async def opening(self, member: Member, link_id: str) -> Opening:
        """Return what opens the receipts of a blind link, for its owner: the key, and the author's digests.

        What visitors gave and got is theirs to show: with the key, their own copies open those commitments.
        It is there before and after the link is un-blinded; handing it out un-blinds it. What runs ran on is
        in it only afterwards: before, it would tell whether there was one yet. Raises NotFound.
        """
        link = await self._repository.link(link_id)
        require(member, Action.CHANGE, link)
        return await self.opening_of(link, with_runs=not link.blind)

    async def opening_of(self, link: ShareLink, *, with_runs: bool = True) -> Opening:
        """Return what opens the receipts of a link, for whom that is was decided before."""
        version = await self._repository.version(link.version_id)
        runs = await self._repository.runs_of_link(link.id, _OPENED_RUNS) if with_runs else []
        claimed = {
            Claimed("bundle", version.reference, version.digest),
            Claimed("spec", "vitrine.yaml", digest_of_json(version.spec)),
            Claimed("environment", "environment", version.environment_digest or ""),
            *_surroundings(runs),
        }
        ordered = sorted(
            (item for item in claimed if item.digest), key=lambda item: (item.domain, item.digest)
        )
        return Opening(key_of(link.key), tuple(ordered))


def _surroundings(runs: list[Run]) -> set[Claimed]:
    """Return the harnesses and images of runs."""
    found = [run.conditions for run in runs if run.conditions is not None]
    harnesses = {Claimed("harness", "harness", conditions.harness) for conditions in found}
    return harnesses | {Claimed("image", "image", item.image) for item in found if item.image}
