"""Trainings and their trials."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.responses import PlainTextResponse, StreamingResponse

from vitrine_api.dependencies import App, Pages, Who
from vitrine_api.descriptions import (
    checkpoint_out,
    trial_out,
)
from vitrine_api.resources import (
    CheckpointOut,
    Listed,
    TrialOut,
)
from vitrine_api.routes.accounts import Strict
from vitrine_api.routes.runs import Index, find_output
from vitrine_api.streams import blob_response, event_stream, json_events
from vitrine_common.errors import NotFound

router = APIRouter(prefix="/api/v1", tags=["training"])


class TrainIn(Strict):
    """A manifest with a `train:` section."""

    manifest: dict[str, Any]
    model: str | None = Field(default=None, max_length=100)
    register_version: bool = Field(default=True, alias="register")


@router.post("/trainings", status_code=202)
async def start(body: TrainIn, who: Who, app: App) -> TrialOut:
    """Train a model; 202 as soon as the request is stored."""
    return trial_out(await app.training.start(who, body.manifest, body.model, register=body.register_version))


@router.get("/trials")
async def trials(who: Who, app: App, paging: Pages) -> Listed[TrialOut]:
    """List one's trainings."""
    page = await app.training.page(who, paging.limit, paging.after)
    return Listed(items=[trial_out(record) for record in page.items], next=page.next)


@router.get("/trials/{trial_id}")
async def trial(trial_id: str, who: Who, app: App) -> TrialOut:
    """Show a training."""
    return trial_out(await app.training.get(who, trial_id))


@router.get("/trials/{trial_id}/metrics")
async def metrics(trial_id: str, who: Who, app: App, paging: Pages) -> Listed[dict[str, Any]]:
    """List what a trial logged, oldest first."""
    page = await app.training.metrics(who, trial_id, paging.limit, paging.after)
    items = [point.model_dump(mode="json", exclude={"id", "trial_id"}) for point in page.items]
    return Listed(items=items, next=page.next)


@router.get("/trials/{trial_id}/samples")
async def samples(trial_id: str, who: Who, app: App, paging: Pages) -> Listed[dict[str, Any]]:
    """List what a trial used, second by second, oldest first."""
    page = await app.training.samples(who, trial_id, paging.limit, paging.after)
    items = [sample.model_dump(mode="json", exclude={"id", "trial_id"}) for sample in page.items]
    return Listed(items=items, next=page.next)


@router.get("/trials/{trial_id}/checkpoints")
async def checkpoints(trial_id: str, who: Who, app: App) -> Listed[CheckpointOut]:
    """List a trial's checkpoints, oldest first."""
    found = await app.training.checkpoints(who, trial_id)
    return Listed(items=[checkpoint_out(checkpoint) for checkpoint in found])


@router.get("/trials/{trial_id}/events", response_class=StreamingResponse)
async def events(trial_id: str, who: Who, app: App) -> StreamingResponse:
    """Follow a training to its end (server-sent events)."""
    return await event_stream(app.training.follow(who, trial_id), json_events(trial_out))


@router.get("/trials/{trial_id}/log", response_class=PlainTextResponse)
async def log(trial_id: str, who: Who, app: App) -> Response:
    """Return all that a trial printed, once it has ended."""
    record = await app.training.get(who, trial_id)
    if record.trial is None or record.trial.log_digest is None:
        raise NotFound("the log is stored when the trial ends; until then see `log_tail` and the events")
    return await blob_response(
        app.platform.blobs, record.trial.log_digest, "text/plain", f"{trial_id}.log", download=True
    )


@router.get("/trials/{trial_id}/outputs/{name:path}")
async def output(trial_id: str, name: str, who: Who, app: App, index: Index = 0) -> Response:
    """Return the bytes of a trial's output."""
    record = await app.training.get(who, trial_id)
    found = find_output(record.trial.outputs if record.trial else [], name, index)
    return await blob_response(app.platform.blobs, found.digest or "", found.media_type, found.filename)


@router.post("/trials/{trial_id}/cancel", status_code=202)
async def cancel(trial_id: str, who: Who, app: App) -> TrialOut:
    """Ask for a training to be stopped; the answer shows it as it is now."""
    return trial_out(await app.training.cancel(who, trial_id))
