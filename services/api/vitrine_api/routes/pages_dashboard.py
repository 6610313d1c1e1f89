"""Pages: what an account sees first, and the list of its models."""

from __future__ import annotations

import asyncio
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.pages import Page, Visit
from vitrine_api.presenters.dashboard import attention_row, run_chart
from vitrine_api.presenters.links import link_rows
from vitrine_api.presenters.models import model_row
from vitrine_api.repository import Sort
from vitrine_api.routes.pages_runs import run_rows

router = APIRouter(include_in_schema=False)

_NEWEST = 6
_RUNS = 5
_MODELS = 30
Wanted = Annotated[str, Query(max_length=100)]


async def dashboard_page(visit: Visit) -> Response:
    """Show what an account sees first."""
    services, who = visit.services, visit.member
    models, days, attention, sharing, runs = await asyncio.gather(
        services.models.found(who, "", "updated", _NEWEST, None),
        services.dashboard.days(who),
        services.dashboard.attention(who),
        services.dashboard.sharing(who),
        services.runs.page(who, _RUNS, None),
    )
    return visit.page(
        views.Dashboard(
            models=tuple(model_row(model, version) for model, version in models.items),
            more_models=models.next is not None,
            chart=run_chart(days),
            attention=tuple(attention_row(one) for one in attention),
            links=link_rows(sharing.links, sharing.versions, sharing.use),
            runs=await run_rows(visit, runs.items),
            api_url=services.settings.base_url,
        )
    )


@router.get("/models")
async def models(visit: Page, q: Wanted = "", sort: Wanted = "updated", after: Wanted = "") -> Response:
    """List one's models."""
    services = visit.services
    order: Sort = next((known for known in get_args(Sort) if known == sort), "updated")
    page = await services.models.found(visit.member, q.strip(), order, _MODELS, after or None)
    kept = {key: value for key, value in (("q", q.strip()), ("sort", order)) if value}
    older = f"/models?{urlencode({**kept, 'after': page.next})}" if page.next else None
    return visit.page(
        views.Models(
            models=tuple(model_row(model, version) for model, version in page.items),
            query=q.strip(),
            sort=order,
            paging=views.Paging(newer_url=f"/models?{urlencode(kept)}" if after else None, older_url=older),
            api_url=services.settings.base_url,
        )
    )
