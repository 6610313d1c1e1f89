"""Checks of submissions that the chair asks for: a run on an example, and every claim.

They wait in a queue of the platform's and are begun a few at a time for each venue, so that a chair with a
hundred submissions holds up nobody. What runs is an ordinary run or claim check by the chair's link.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vitrine_api.claims.checks import Checks, claims_of
from vitrine_api.credentials import visitor_id
from vitrine_api.policy import Visitor
from vitrine_api.runs import Runs
from vitrine_api.specs import spec_of
from vitrine_api.venues.hosting import check_reviewing
from vitrine_api.venues.repository import VenueRepository
from vitrine_common.documents import Venue, VenueProbe, VenueSubmission, Version
from vitrine_common.errors import Conflict, StaleState, VitrineError
from vitrine_common.leases import WorkQueue
from vitrine_common.states import CLAIM_CHECK, PROBE, RUN, ClaimState, ProbeState, RunState

log = logging.getLogger(__name__)

RUNS = "runs"
CLAIM = "claim:"
_LEASE_SECONDS = 60.0
_BUSY_SECONDS, _IDLE_SECONDS = 1.0, 20.0


class Probes:
    """Queues, begins and follows the checks of venues.

    Args:
        repository: where they are kept.
        runs: begins runs.
        checks: begins checks of claims.
        holder: names this process in leases.
        at_once: checks of one venue that are under way at a time.
    """

    def __init__(
        self, repository: VenueRepository, runs: Runs, checks: Checks, holder: str, at_once: int
    ) -> None:
        self._repository = repository
        self._runs = runs
        self._checks = checks
        self._queue = WorkQueue(repository.probes, PROBE, holder, _LEASE_SECONDS)
        self._at_once = at_once
        self._news = asyncio.Event()
        self._feeding = asyncio.Lock()

    async def ask(self, venue: Venue, submission_ids: Sequence[str] | None = None) -> int:
        """Queue what was not checked, or failed, of the versions as they are now; return how many checks.

        Args:
            venue: the venue; the caller has checked whose it is.
            submission_ids: of which submissions; None for all.
        """
        check_reviewing(venue)
        submissions = [
            one
            for one in await self._repository.submissions_of(venue.id)
            if submission_ids is None or one.id in submission_ids
        ]
        versions = await self._repository.versions([one.version_id for one in submissions])
        known = {probe.id: probe for probe in await self._repository.probes_of(venue.id)}
        asked = 0
        for submission in submissions:
            version = versions.get(submission.version_id)
            for check in wanted_checks(version) if version else ():
                asked += await self._ask(submission, check, known)
        self._news.set()
        return asked

    async def _ask(self, submission: VenueSubmission, check: str, known: Mapping[str, VenueProbe]) -> bool:
        probe = VenueProbe(
            id=_id_of(submission, check),
            venue_id=submission.venue_id,
            submission_id=submission.id,
            version_digest=submission.version_digest,
            check=check,
        )
        before = known.get(probe.id)
        if before is not None:
            if before.state is not ProbeState.FAILED:
                return False
            await self._repository.probes.delete({"_id": probe.id, "state": ProbeState.FAILED})
        try:
            await self._repository.probes.insert(probe)
        except Conflict:  # asked for twice at once
            return False
        return True

    async def forever(self) -> None:
        """Begin and follow checks, for ever."""
        while True:
            self._news.clear()
            try:
                busy = await self.feed()
            except Exception:
                log.exception("checks of venues will be looked at again")
                busy = True
            try:
                async with asyncio.timeout(_BUSY_SECONDS if busy else _IDLE_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def feed(self) -> bool:
        """Note what ended, and begin what may begin; return whether anything is under way.

        Several processes may do so: each check is begun by one, and the limit is each process's.
        """
        async with self._feeding:
            return await self._feed()

    async def _feed(self) -> bool:
        for abandoned in await self._queue.expired():
            await self._queue.settle(abandoned.id, ProbeState.STARTING, ProbeState.WAITING)
        under_way: Counter[str] = Counter()
        for probe in await self._repository.probes_in(ProbeState.RUNNING):
            if not await self._settled(probe):
                under_way[probe.venue_id] += 1
        for probe in await self._repository.probes_in(ProbeState.STARTING):
            under_way[probe.venue_id] += 1
        for probe in await self._repository.probes_in(ProbeState.WAITING):
            if under_way[probe.venue_id] < self._at_once:
                claimed = await self._queue.claim(probe.id, ProbeState.STARTING)
                if claimed is not None and await self._begin(claimed):
                    under_way[probe.venue_id] += 1
        return bool(under_way.total())

    async def _settled(self, probe: VenueProbe) -> bool:
        ended = await (self._run_ended(probe) if probe.check == RUNS else self._check_ended(probe))
        if ended is None:
            return False
        passed, message = ended
        target = ProbeState.PASSED if passed else ProbeState.FAILED
        await self._queue.settle(probe.id, ProbeState.RUNNING, target, {"message": message})
        return True

    async def _run_ended(self, probe: VenueProbe) -> tuple[bool, str] | None:
        run = await self._repository.run(probe.work_id)
        if run is None or not RUN.is_final(run.state):
            return None
        return run.state is RunState.SUCCEEDED, run.reason.value.replace("_", " ") if run.reason else ""

    async def _check_ended(self, probe: VenueProbe) -> tuple[bool, str] | None:
        check = await self._repository.check(probe.work_id)
        if check is None or not CLAIM_CHECK.is_final(check.state):
            return None
        measured = f"{check.measured:g} instead of {check.expected:g}" if check.measured is not None else ""
        reason = check.reason.value.replace("_", " ") if check.reason else ""
        return check.state is ClaimState.REPRODUCED, measured if check.state is ClaimState.DIFFERS else reason

    async def _begin(self, probe: VenueProbe) -> bool:
        try:
            work_id = await self._start(probe)
        except VitrineError as error:
            changes = {"message": error.message[:300]}
            target = ProbeState.FAILED
        else:
            changes, target = {"work_id": work_id}, ProbeState.RUNNING
        try:
            await self._queue.advance(probe, target, changes)
        except StaleState:  # another process began it once more: a check too many does no harm
            log.warning("lost the lease on a check", extra={"probe": probe.id})
        return target is ProbeState.RUNNING

    async def _start(self, probe: VenueProbe) -> str:
        submission = await self._repository.submissions.get(probe.submission_id)
        if submission.version_digest != probe.version_digest or submission.withdrawn_at is not None:
            raise Conflict("another version was submitted meanwhile")
        version = (await self._repository.versions([submission.version_id])).get(submission.version_id)
        if version is None:
            raise Conflict("the version was deleted by its author")
        link = await self._repository.links.get(submission.chair_link_id)
        visitor = Visitor(link, visitor_id(link.id, "checks"))
        if probe.check == RUNS:
            return (await self._runs.start_by_link(visitor, version, example_values(version))).request.id
        name = probe.check.removeprefix(CLAIM)
        return (await self._checks.start_by_link(visitor, version, name)).request.id


def wanted_checks(version: Version) -> list[str]:
    """Return what can be checked of a version: that it runs, and each of its claims."""
    return [RUNS, *(f"{CLAIM}{claim.name}" for claim in claims_of(version))]


def example_values(version: Version) -> dict[str, Any]:
    """Return values for a run: of each input its first example, else its default.

    An input that must be given and has neither is left out; that run is refused, and its author's to mend.
    """
    values: dict[str, Any] = {}
    for item in spec_of(version).effective_inputs():
        examples = list(getattr(item, "examples", []))
        if examples:
            values[item.name] = {"example": examples[0]} if item.is_file else examples[0]
    return values


def by_submission(probes: Sequence[VenueProbe]) -> dict[str, dict[str, VenueProbe]]:
    """Return checks by submission and by what they are of, those of versions before left in."""
    found: dict[str, dict[str, VenueProbe]] = defaultdict(dict)
    for probe in probes:
        found[probe.submission_id][f"{probe.version_digest}/{probe.check}"] = probe
    return found


def _id_of(submission: VenueSubmission, check: str) -> str:
    text = f"{submission.id}\n{submission.version_digest}\n{check}"
    return f"probe_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
