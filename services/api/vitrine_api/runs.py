"""Runs: accepted durably, followed, cancelled. What becomes of them is the runner's to write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitrine_api import audit, blindness
from vitrine_api.blind_use import was_blind
from vitrine_api.capacity import check_capacity, need_of
from vitrine_api.link_quota import Quota, check_size
from vitrine_api.link_states import check_usable, link_state, seconds_left
from vitrine_api.policy import Action, Member, Principal, Visitor, require
from vitrine_api.progress import Follower, Hub
from vitrine_api.quotas import OverQuota, Quotas
from vitrine_api.repository import Page, Repository, page_of
from vitrine_api.run_inputs import RunInputs
from vitrine_api.settings import ApiSettings
from vitrine_api.waiting import Place, Waiting
from vitrine_common.bus import Bus
from vitrine_common.clock import after as time_after
from vitrine_common.documents import Run, RunRequest, ShareLink, Version
from vitrine_common.errors import Conflict, Problem, TooMany, VitrineError
from vitrine_common.fleet import Fleet
from vitrine_common.ids import new_id
from vitrine_common.messages import RunCancel, RunExpected, RunStart
from vitrine_common.states import RUN, RunState, VersionState
from vitrine_common.telemetry import inject

_SCANS = 10


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A request, and what became of it so far."""

    request: RunRequest
    run: Run | None
    place: Place | None = None
    """Where it stands in the queue, where that was asked for."""

    @property
    def state(self) -> RunState:
        """Where it stands; queued while no runner has taken note of it."""
        if self.run is None and self.request.call is not None:
            return self.request.call.state
        return self.run.state if self.run else RunState.QUEUED

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return RUN.is_final(self.state)


class Runs:
    """Takes run requests and reads what became of them."""

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        repository: Repository,
        inputs: RunInputs,
        bus: Bus,
        hub: Hub,
        settings: ApiSettings,
        quotas: Quotas,
        fleet: Fleet,
    ) -> None:
        self._quotas = quotas
        self._fleet = fleet
        self._accounts = repository.accounts
        self._links = repository.links
        self._runs = repository.runs
        self._quota = Quota(repository.links)
        self._waiting = Waiting(repository.runs.queue, fleet)
        self._inputs = inputs
        self._bus = bus
        self._hub = hub
        self._settings = settings

    async def start(
        self,
        member: Member,
        version: Version,
        raw: Mapping[str, Any],
        run_id: str | None = None,
        *,
        hooked: bool = False,
    ) -> RunRecord:
        """Accept a run of a version by an account; it is stored, with its command, when this returns.

        `hooked` says that an address is told of it (`RunHook`, under the same id).

        Raises Conflict when the version is not ready or no runner has what it needs, Invalid naming each
        input that is wrong.
        """
        require(member, Action.RUN, version)
        await self._expect(version)
        request = await self._request(version, raw, member.id, run_id)
        await self._quotas.take_runs(version.owner_id)
        await self._accept(request.model_copy(update={"user_id": member.id, "hooked": hooked}))
        await audit.record(self._accounts, member, "run.requested", request)
        return RunRecord(request, None)

    async def start_by_link(
        self, visitor: Visitor, version: Version, raw: Mapping[str, Any], run_id: str | None = None
    ) -> RunRecord:
        """Like `start`, by a link: counts against its quota, and takes nothing when it is refused.

        Raises Gone for a link that was revoked or has expired, TooMany for one that is used up.
        """
        require(visitor, Action.RUN, version)
        check_usable(visitor.link)
        if link_state(visitor.link) == "used_up":
            raise TooMany("this link's runs are used up; ask its owner for another")
        check_size(visitor.link, raw)
        check_ready_for_visitors(version)
        await self._expect(version)
        raw = blindness.with_example_paths(visitor.link, version, raw)
        request = await self._request(version, raw, None, run_id)
        request.link_id, request.visitor_id = visitor.link.id, visitor.visitor_id
        request.blind = visitor.link.blind or bool(visitor.link.venue_id)
        await take_run(self._quota, self._quotas, visitor.link)
        # From here on a failure may leave the request stored, so what was counted stays counted.
        await self._accept(request)
        await self._stop_if_revoked(request)
        await audit.record(self._accounts, visitor, "run.requested", request)
        return RunRecord(request, None)

    async def _expect(self, version: Version) -> None:
        """Let a runner have a worker ready by the time that the run is stored."""
        check_ready(version)
        news = RunExpected(
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
        )
        await self._bus.tell(news)

    async def _stop_if_revoked(self, request: RunRequest) -> None:
        """Cancel a run whose link was revoked between the check and the insert: the revoker missed it."""
        link = await self._links.links.get(request.link_id or "")
        if link.revoked_at is not None:
            await self._bus.send(RunCancel(run_id=request.id))

    async def _request(
        self, version: Version, raw: Mapping[str, Any], user_id: str | None, run_id: str | None
    ) -> RunRequest:
        check_ready(version)
        need = need_of(version)
        check_capacity(self._fleet, need)
        return RunRequest(
            id=run_id or new_id("run"),
            version_id=version.id,
            version_digest=version.digest,
            environment_digest=version.environment_digest or "",
            owner_id=version.owner_id,
            inputs=await self._inputs.prepare(version, raw, user_id),
            device=need.device,
            gpus=need.gpus,
            gpu_memory=need.gpu_memory,
            expires_at=time_after(self._settings.run_wait_seconds),
            trace=inject(),
        )

    async def _accept(self, request: RunRequest) -> None:
        command = RunStart(run_id=request.id, device=request.device)
        await self._runs.requests.insert(request, [command])

    async def get(self, principal: Principal, run_id: str) -> RunRecord:
        """Return a run. Raises NotFound."""
        request, run = await asyncio.gather(self._runs.requests.get(run_id), self._runs.run(run_id))
        require(principal, Action.SEE, request)
        return RunRecord(request, run)

    async def placed(self, record: RunRecord) -> RunRecord:
        """Return the record with its place in the queue, if it waits."""
        if record.state is not RunState.QUEUED:
            return record
        return replace(record, place=await self._waiting.place(record.request))

    async def page(  # noqa: PLR0917 - which list is wanted
        self,
        member: Member,
        limit: int,
        after: str | None,
        version: Version | None = None,
        link: ShareLink | None = None,
        state: RunState | None = None,
    ) -> Page[RunRecord]:
        """Return the runs of the member's versions, by links too: all, or of a version, a link, in a state.

        Runs by blind links are in no such list.
        """
        require(member, Action.SEE, link or version)
        where: dict[str, Any] = {"blind": {"$ne": True}}
        if version is None and link is None:
            where["owner_id"] = member.id
        if version is not None:
            where["version_id"] = version.id
            if version.owner_id != member.id:
                where["user_id"] = member.id
        if link is not None:
            where["link_id"] = link.id
        if state is None:
            return await self._page(where, limit, after)
        if state is RunState.QUEUED or "user_id" in where:
            return await self._page_of_scan(where, limit, after, state)
        page = await self._runs.page_in({**where, "state": state}, limit, after)
        requests = await self._runs.requests_by_ids(run.id for run in page.items)
        records = [RunRecord(requests[run.id], run) for run in page.items if run.id in requests]
        return Page([item for item in records if not item.request.blind], page.next)

    async def _page_of_scan(
        self, where: Mapping[str, Any], limit: int, after: str | None, state: RunState
    ) -> Page[RunRecord]:
        """Return what is found among the newest requests: those that wait have nothing to be found by."""
        found: list[RunRecord] = []
        for _ in range(_SCANS):
            page = await self._page(where, limit - len(found), after)
            found += [item for item in page.items if item.state is state]
            after = page.next
            if after is None or len(found) >= limit:
                break
        return Page(found, after)

    async def page_of_visitor(self, visitor: Visitor, limit: int, after: str | None) -> Page[RunRecord]:
        """Return this visitor's own runs."""
        require(visitor, Action.SEE, visitor.link)
        where = {"link_id": visitor.link.id, "visitor_id": visitor.visitor_id}
        return await self._page(where, limit, after)

    async def _page(self, where: Mapping[str, Any], limit: int, after: str | None) -> Page[RunRecord]:
        page = await page_of(self._runs.requests, where, limit, after)
        runs = await self._runs.runs(request.id for request in page.items)
        return Page([RunRecord(request, runs.get(request.id)) for request in page.items], page.next)

    def follow(self, principal: Principal, run_id: str, *, with_place: bool = False) -> Follower[RunRecord]:
        """Return a follower of a run; it ends with Gone when the link is revoked, or expires, meanwhile.

        With `with_place`, a new place in the queue is a change, too.
        """
        link = principal.link if isinstance(principal, Visitor) else None

        async def read() -> RunRecord:
            nonlocal link
            if link is not None:
                link = await self._links.links.get(link.id)
                check_usable(link)
            record = await self.get(principal, run_id)
            return await self.placed(record) if with_place else record

        return Follower(
            hub=self._hub,
            ids=(run_id, link.id) if link else (run_id,),
            read=read,
            mark=lambda record: record.place.ahead if record.place else record.state,
            is_final=lambda record: record.final,
            recheck_seconds=self._settings.recheck_seconds,
            due_seconds=lambda _: seconds_left(link),
        )

    async def cancel(self, principal: Principal, run_id: str) -> RunRecord:
        """Ask the runner to stop a run; one that has ended stays as it is."""
        record = await self.get(principal, run_id)
        require(principal, Action.CHANGE, record.request)
        if not record.final:
            await self._bus.send(RunCancel(run_id=run_id))
        return record

    async def cancel_of_link(self, link: ShareLink) -> None:
        """Ask the runner to stop whatever waits or works for a link."""
        requests: Sequence[RunRequest] = await self._runs.recent_of_link(link.id)
        runs = await self._runs.runs(request.id for request in requests)
        for request in requests:
            if not RunRecord(request, runs.get(request.id)).final:
                await self._bus.send(RunCancel(run_id=request.id))


async def take_run(quota: Quota, quotas: Quotas, link: ShareLink) -> ShareLink:
    """Count a run of a link, and of its owner; nothing is counted where it is refused.

    Raises Gone, LinkPaused, TooMany, in words that tell visitors nothing of the owner.
    """
    try:
        await quotas.take_runs(link.owner_id, blind=was_blind(link))
    except OverQuota:
        raise TooMany(
            "this model was run as often today as its owner's quota allows; try again tomorrow (UTC)"
        ) from None
    try:
        taken = await quota.take(link)
    except VitrineError:
        await quotas.give_runs(link.owner_id, blind=was_blind(link))
        raise
    try:
        check_usable(taken)
    except VitrineError:
        await quota.give_back(taken)
        await quotas.give_runs(link.owner_id, blind=was_blind(link))
        raise
    return taken


def check_ready_for_visitors(version: Version) -> None:
    """Like `check_ready`, in words that name neither the version nor its owner. Raises Conflict."""
    try:
        check_ready(version)
    except Conflict:
        raise Conflict("this model is not ready yet, or its environment could not be made") from None


def check_ready(version: Version) -> None:
    """Raise Conflict, with the build's problem, unless the version can be run."""
    if version.state is VersionState.READY and version.environment_digest:
        return
    if version.state is VersionState.BUILD_FAILED and version.build_problem is not None:
        problem = version.build_problem
        raise Conflict(
            f"{version.reference} cannot be run, its environment could not be made: {problem.message}",
            (Problem(problem.culprit or "package", problem.message),),
        )
    raise Conflict(f"{version.reference} is not ready yet; its environment is being made")
