"""From facts of the bus to what an account is told. What is not told stands here as well, and why."""

from __future__ import annotations

from dataclasses import replace

from vitrine_api.blind_use import was_blind
from vitrine_api.notifications.news import News, Notices
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_api.run_hooks import RunHooks
from vitrine_common.documents import ShareLink, Version
from vitrine_common.messages import (
    ClaimChecked,
    RunFinished,
    TrialFinished,
    VersionBuildFailed,
    VersionReady,
)
from vitrine_common.states import ClaimState, Reason, RunState, TrialState

_NEAR = 0.8
_VERDICTS = {
    ClaimState.REPRODUCED: "was reproduced",
    ClaimState.DIFFERS: "came out different",
    ClaimState.FAILED: "could not be checked",
}


class Facts:
    """Tells accounts what the services did."""

    def __init__(self, notices: Notices, repository: NotificationRepository, hooks: RunHooks) -> None:
        self._notices = notices
        self._run_hooks = hooks
        self._repository = repository

    async def version_ready(self, fact: VersionReady) -> None:
        """Tell the owner that a version can be run."""
        version = await self._repository.version(fact.version_id)
        if version is not None:
            await self._notices.tell(
                _of_version(version, "version.ready", f"{version.reference} can be run", "")
            )

    async def version_build_failed(self, fact: VersionBuildFailed) -> None:
        """Tell the owner that a version's packages cannot be installed, and why."""
        version = await self._repository.version(fact.version_id)
        if version is not None:
            why = version.build_problem.message if version.build_problem else ""
            title = f"The packages of {version.reference} cannot be installed"
            await self._notices.tell(_of_version(version, "version.build_failed", title, why))

    async def run_finished(self, fact: RunFinished) -> None:
        """Tell whoever began the run that it ended; of links' runs, what concerns the link alone."""
        found = await self._repository.run(fact.run_id)
        if found is None:
            return
        request, run = found
        if request.link_id is not None:
            link = await self._repository.link(request.link_id)
            if link is not None and not was_blind(link):
                await self._link_used(link)
            return
        if request.user_id is None:
            return
        version = await self._repository.version(run.version_id)
        reference = version.reference if version else run.version_id
        if request.hooked:
            await self._run_hooks.finished(run, reference)
        reason = run.reason.value if run.reason else None
        data = {"run_id": run.id, "version": reference, "state": run.state.value, "reason": reason}
        path = f"/runs/{run.id}"
        ended = f"A run of {reference} {run.state.value}"
        await self._notices.tell(
            News(user_id=request.user_id, kind="run.finished", key=run.id, title=ended, path=path, data=data)
        )
        if run.state is RunState.FAILED and run.reason is Reason.PLATFORM_ERROR:
            title = f"The platform failed at a run of {reference}"
            await self._notices.tell(
                News(
                    user_id=request.user_id,
                    kind="run.failed_by_platform",
                    key=run.id,
                    title=title,
                    text=run.message,
                    path=path,
                    data=data,
                )
            )

    async def _link_used(self, link: ShareLink) -> None:
        version = await self._repository.version(link.version_id)
        name = f"“{link.label}”" if link.label else f"to {version.reference if version else 'a version'}"
        await self._notices.tell(
            _of_link(link, "link.first_run", link.id, f"The link {name} was used for the first time")
        )
        await self.link_quota(link, link.runs_used, name)

    async def link_quota(self, link: ShareLink, used: int, name: str) -> None:
        """Tell the owner when a link's runs are almost, or wholly, used up."""
        if link.max_runs is None or used < _NEAR * link.max_runs:
            return
        reached = used >= link.max_runs
        kind = "link.quota_reached" if reached else "link.quota_near"
        said = "are used up" if reached else f"are almost used up ({used} of {link.max_runs})"
        title = f"The runs of the link {name} {said}"
        # A quota that was raised is another one, and told again.
        await self._notices.tell(_of_link(link, kind, f"{link.id}:{link.max_runs}", title))

    async def claim_checked(self, fact: ClaimChecked) -> None:
        """Tell the owner of a verdict; of blind links' single checks nobody is told."""
        if fact.state not in _VERDICTS or fact.own_inputs:
            return
        found = await self._repository.check(fact.check_id)
        version = await self._repository.version(fact.version_id)
        if found is None or version is None or found[0].blind:
            return
        _, check = found
        title = f"The claim “{fact.claim}” of {version.reference} {_VERDICTS[fact.state]}"
        text = f"Claimed: {check.expected}; measured: {check.measured}." if check.measured is not None else ""
        news = _of_version(version, "claim.checked", title, text or check.message, key=check.id)
        outcome = {
            "claim": fact.claim,
            "check_id": check.id,
            "verdict": fact.state.value,
            "expected": check.expected,
            "measured": check.measured,
        }
        await self._notices.tell(replace(news, data={**news.data, **outcome}))

    async def trial_finished(self, fact: TrialFinished) -> None:
        """Tell the owner how a training ended."""
        trial = await self._repository.trial(fact.trial_id)
        if trial is None or trial.state is TrialState.CANCELLED:
            return
        failed = trial.state is TrialState.FAILED
        await self._notices.tell(
            News(
                user_id=trial.owner_id,
                kind="training.failed" if failed else "training.finished",
                key=trial.id,
                title="A training has failed" if failed else "A training has ended",
                text=trial.message if failed else "",
                path=f"/trials/{trial.id}",
                data={"trial_id": trial.id, "state": trial.state.value},
            )
        )


def _of_version(version: Version, kind: str, title: str, text: str, *, key: str | None = None) -> News:
    return News(
        user_id=version.owner_id,
        kind=kind,
        key=key or version.id,
        title=title,
        text=text,
        path=f"/models/{version.owner}/{version.model}/versions/{version.number}",
        data={"version": version.reference, "version_id": version.id, "digest": version.digest},
    )


def _of_link(link: ShareLink, kind: str, key: str, title: str) -> News:
    return News(
        user_id=link.owner_id,
        kind=kind,
        key=key,
        title=title,
        path="/links",
        data={"link_id": link.id, "label": link.label},
    )
