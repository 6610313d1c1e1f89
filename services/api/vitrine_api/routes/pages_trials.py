"""Pages: one's trainings."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.pages import Page, Visit, see
from vitrine_api.presenters.trials import TrialParts, trial_events, trial_row, trial_view
from vitrine_api.streams import event_stream

router = APIRouter(include_in_schema=False)

_ROWS = 100
_POINTS = 200


@router.get("/trials")
async def trials(visit: Page) -> Response:
    """List one's trainings."""
    page = await visit.services.training.page(visit.member, _ROWS, None)
    return visit.page(views.Trials(trials=tuple(trial_row(record) for record in page.items)))


async def _parts(visit: Visit, trial_id: str) -> TrialParts:
    training, who = visit.services.training, visit.member
    return TrialParts(
        metrics=(await training.metrics(who, trial_id, _POINTS, None)).items,
        samples=(await training.samples(who, trial_id, _POINTS, None)).items,
        checkpoints=await training.checkpoints(who, trial_id),
    )


@router.get("/trials/{trial_id}")
async def trial(trial_id: str, visit: Page) -> Response:
    """Show a training."""
    record = await visit.services.training.get(visit.member, trial_id)
    digest = record.request.manifest_digest
    known = [views.Fact(title="Source", value=digest, code=True)]
    if record.trial and record.trial.environment_digest:
        known.append(views.Fact(title="Environment", value=record.trial.environment_digest, code=True))
    view = trial_view(record, await _parts(visit, trial_id))
    return visit.page(views.Trial(trial=view, title=record.request.model, facts=tuple(known)))


@router.get("/trials/{trial_id}/events")
async def events(trial_id: str, visit: Page) -> Response:
    """Follow a training, as fragments."""
    parts = await _parts(visit, trial_id)
    follower = visit.services.training.follow(visit.member, trial_id)
    return await event_stream(follower, trial_events(visit.render, parts))


@router.post("/trials/{trial_id}/cancel")
async def cancel(trial_id: str, visit: Page, request: Request) -> Response:
    """Ask for a training to be stopped."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.training.cancel(who, trial_id)
    return see(f"/trials/{trial_id}")
