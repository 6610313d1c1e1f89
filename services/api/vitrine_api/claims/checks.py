"""Checks of claims: accepted durably, followed, cancelled. What becomes of them is the runner's to write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrine_api import audit
from vitrine_api.capacity import check_capacity, need_of_limits
from vitrine_api.claims.datasets import Datasets
from vitrine_api.claims.own_inputs import SentOwn, check_own, store_own
from vitrine_api.claims.repository import Checks as CheckRepository
from vitrine_api.claims.repository import Tally
from vitrine_api.link_quota import Quota, check_size
from vitrine_api.link_states import check_usable, link_state, seconds_left
from vitrine_api.policy import Action, Member, Principal, Visitor, allows, require
from vitrine_api.progress import Follower, Hub
from vitrine_api.quotas import Quotas
from vitrine_api.repository import Page, Repository, page_of
from vitrine_api.runs import check_ready, take_run
from vitrine_api.settings import ApiSettings
from vitrine_api.specs import spec_of
from vitrine_api.uploads import Uploads
from vitrine_common.bus import Bus
from vitrine_common.clock import after as time_after
from vitrine_common.digests import canonical_json
from vitrine_common.documents import (
    CheckDataset,
    ClaimCheck,
    ClaimCheckRequest,
    DatasetVersion,
    ShareLink,
    Version,
)
from vitrine_common.errors import Conflict, NotFound, TooMany
from vitrine_common.fleet import Fleet
from vitrine_common.ids import new_id
from vitrine_common.messages import ClaimCancel, ClaimCheckStart
from vitrine_common.spec import Claim
from vitrine_common.states import CLAIM_CHECK, ClaimState
from vitrine_common.telemetry import inject


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """A wish to have a claim checked, and what became of it so far."""

    request: ClaimCheckRequest
    check: ClaimCheck | None
    ahead: int | None = None
    """Checks that wait before this one, while it waits."""

    @property
    def state(self) -> ClaimState:
        """Where it stands; queued while no runner has taken note of it."""
        return self.check.state if self.check else ClaimState.QUEUED

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return CLAIM_CHECK.is_final(self.state)

    @property
    def claim(self) -> Claim:
        """The claim as the version states it."""
        return Claim.model_validate(json.loads(self.request.claim))

    @property
    def mark(self) -> tuple[ClaimState, int, int | None]:
        """What differs when there is something new to tell."""
        return self.state, len(self.check.repeats) if self.check else 0, self.ahead


def _shown(found: DatasetVersion) -> CheckDataset:
    return CheckDataset(
        name=found.name, number=found.number, digest=found.digest, private=bool(found.private)
    )


def claims_of(version: Version) -> tuple[Claim, ...]:
    """Return the claims of a version."""
    return tuple(spec_of(version).claims or ())


def claim_of(version: Version, name: str) -> Claim:
    """Return a claim of a version. Raises NotFound."""
    claim = spec_of(version).claim(name)
    if claim is None:
        known = ", ".join(item.name for item in claims_of(version)) or "none"
        raise NotFound(f"this version has no claim `{name[:64]}`; its claims: {known}")
    return claim


class Checks:
    """Takes wishes to have claims checked, and reads what became of them.

    A check by a link counts as one run of its quota, whatever its repeats: how many there are is the
    author's choice, and the press of the button the visitor's.
    """

    def __init__(  # noqa: PLR0917 - everything that a check touches
        self,
        checks: CheckRepository,
        datasets: Datasets,
        repository: Repository,
        uploads: Uploads,
        bus: Bus,
        hub: Hub,
        settings: ApiSettings,
        quotas: Quotas,
        fleet: Fleet,
    ) -> None:
        self._quotas = quotas
        self._fleet = fleet
        self._checks = checks
        self._datasets = datasets
        self._links = repository.links
        self._accounts = repository.accounts
        self._quota = Quota(repository.links)
        self._uploads = uploads
        self._bus = bus
        self._hub = hub
        self._settings = settings

    async def start(
        self, member: Member, version: Version, name: str, sent: Sequence[SentOwn] = ()
    ) -> CheckRecord:
        """Accept the check of a claim by an account; it is stored, with its command, when this returns.

        Raises NotFound for an unknown claim, Conflict when the version is not ready or its dataset lacks,
        Invalid naming each added file that is wrong.
        """
        require(member, Action.RUN, version)
        request = await self._request(version, name, sent, member.id)
        await self._quotas.take_runs(version.owner_id)
        await self._accept(request.model_copy(update={"user_id": member.id}))
        await audit.record(self._accounts, member, "claim_check.requested", request)
        return CheckRecord(request, None)

    async def start_by_link(
        self, visitor: Visitor, version: Version, name: str, sent: Sequence[SentOwn] = ()
    ) -> CheckRecord:
        """Like `start`, by a link: counts against its quota, and takes nothing when it is refused.

        Raises Gone, LinkPaused, TooMany and TooLarge as the link says.
        """
        require(visitor, Action.RUN, version)
        check_usable(visitor.link)
        if link_state(visitor.link) == "used_up":
            raise TooMany("this link's runs are used up; ask its owner for another")
        check_size(visitor.link, {str(index): item.file for index, item in enumerate(sent)})
        request = await self._request(version, name, sent, None)
        request.link_id, request.visitor_id = visitor.link.id, visitor.visitor_id
        request.blind = visitor.link.blind or bool(visitor.link.venue_id)
        await take_run(self._quota, self._quotas, visitor.link)
        # From here on a failure may leave the request stored, so what was counted stays counted.
        await self._accept(request)
        await self._stop_if_revoked(request)
        await audit.record(self._accounts, visitor, "claim_check.requested", request)
        return CheckRecord(request, None)

    async def _stop_if_revoked(self, request: ClaimCheckRequest) -> None:
        """Cancel a check whose link was revoked between the look and the insert: the revoker missed it."""
        link = await self._links.links.get(request.link_id or "")
        if link.revoked_at is not None:
            await self._bus.send(ClaimCancel(check_id=request.id))

    async def _request(
        self, version: Version, name: str, sent: Sequence[SentOwn], user_id: str | None
    ) -> ClaimCheckRequest:
        claim = claim_of(version, name)
        check_ready(version)
        check_own(claim, sent)
        dataset = await self._dataset(version, claim)
        need = need_of_limits(spec_of(version).claim_limits(claim))
        check_capacity(self._fleet, need)
        return ClaimCheckRequest(
            id=new_id("check"),
            version_id=version.id,
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
            claim_name=claim.name,
            claim=canonical_json(claim.plain()).decode(),
            dataset=dataset,
            own_inputs=await store_own(self._uploads, user_id, claim, sent),
            device=need.device,
            expires_at=time_after(self._settings.run_wait_seconds),
            trace=inject(),
        )

    async def _dataset(self, version: Version, claim: Claim) -> CheckDataset | None:
        reference = claim.pushed_dataset
        if reference is None:
            return None
        found = await self._datasets.named(version.owner_id, reference)
        if found is None:
            raise Conflict(
                f"the dataset of the claim `{claim.name}` is not there yet; its author has to push it "
                "(`vitrine data push`)"
            )
        return _shown(found)

    async def _accept(self, request: ClaimCheckRequest) -> None:
        command = ClaimCheckStart(check_id=request.id, device=request.device)
        await self._checks.requests.insert(request, [command])

    async def get(self, principal: Principal, check_id: str) -> CheckRecord:
        """Return a check. Raises NotFound."""
        request = await self._checks.requests.get(check_id)
        require(principal, Action.SEE, request)
        return await self.read(request)

    async def read(self, request: ClaimCheckRequest) -> CheckRecord:
        """Return what became of a wish that may be seen."""
        check = await self._checks.check(request.id)
        waits = check is None or check.state is ClaimState.QUEUED
        return CheckRecord(request, check, await self._checks.ahead(request) if waits else None)

    async def page(
        self, member: Member, limit: int, after: str | None, version: Version | None = None
    ) -> Page[CheckRecord]:
        """Return the checks of the member's versions, or of one; those by blind links are nobody's to see."""
        require(member, Action.SEE, version)
        where: dict[str, Any] = {"owner_id": member.id} if version is None else {"version_id": version.id}
        page = await self._page(where, limit, after)
        seen = [record for record in page.items if allows(member, Action.SEE, record.request)]
        return Page(seen, page.next)

    async def page_of_visitor(self, visitor: Visitor, limit: int, after: str | None) -> Page[CheckRecord]:
        """Return this visitor's own checks."""
        require(visitor, Action.SEE, visitor.link)
        where = {"link_id": visitor.link.id, "visitor_id": visitor.visitor_id}
        return await self._page(where, limit, after)

    async def _page(self, where: Mapping[str, Any], limit: int, after: str | None) -> Page[CheckRecord]:
        page = await page_of(self._checks.requests, where, limit, after)
        checks = await self._checks.checks(request.id for request in page.items)
        return Page([CheckRecord(request, checks.get(request.id)) for request in page.items], page.next)

    async def tallies(self, principal: Principal, version: Version) -> Mapping[str, Tally]:
        """Return by claim how all checks of a version ended, but those with files of somebody's own."""
        require(principal, Action.SEE, version)
        return await self._checks.tallies(version.id)

    async def last_verdicts(self, version: Version, tallies: Mapping[str, Tally]) -> dict[str, ClaimCheck]:
        """Return by claim the newest check that counts and gave a number."""
        times = {tally.last_measured for tally in tallies.values()} - {None}
        found = await self._checks.ended_at(version.id, [time for time in times if time]) if times else []
        return {
            check.claim_name: check
            for check in found
            if check.tally and check.finished_at == tallies[check.claim_name].last_measured
        }

    async def datasets(self, version: Version) -> dict[str, CheckDataset]:
        """Return by claim the pushed datasets of a version; one that lacks is left out."""
        named = {claim.name: claim.pushed_dataset for claim in claims_of(version)}
        wanted = [reference for reference in named.values() if reference is not None]
        known = await self._datasets.all_named(version.owner_id, wanted)
        return {
            name: _shown(known[reference])
            for name, reference in named.items()
            if reference is not None and reference in known
        }

    def follow(self, principal: Principal, check_id: str) -> Follower[CheckRecord]:
        """Return a follower of a check; it ends with Gone when the link is revoked, or expires, meanwhile."""
        link = principal.link if isinstance(principal, Visitor) else None

        async def read() -> CheckRecord:
            nonlocal link
            if link is not None:
                link = await self._link(link)
                check_usable(link)
            return await self.get(principal, check_id)

        return Follower(
            hub=self._hub,
            ids=(check_id, link.id) if link else (check_id,),
            read=read,
            mark=lambda record: record.mark,
            is_final=lambda record: record.final,
            recheck_seconds=self._settings.recheck_seconds,
            due_seconds=lambda _: seconds_left(link),
        )

    async def _link(self, link: ShareLink) -> ShareLink:
        return await self._links.links.get(link.id)

    async def cancel(self, principal: Principal, check_id: str) -> CheckRecord:
        """Ask the runner to stop a check; one that has ended stays as it is."""
        record = await self.get(principal, check_id)
        require(principal, Action.CHANGE, record.request)
        if not record.final:
            await self._bus.send(ClaimCancel(check_id=check_id))
        return record
