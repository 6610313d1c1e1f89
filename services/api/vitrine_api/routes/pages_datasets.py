"""Pages: one's datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.dependencies import Ref
from vitrine_api.pages import Page
from vitrine_api.presenters.datasets import dataset_row
from vitrine_api.presenters.models import file_rows

router = APIRouter(prefix="/datasets", include_in_schema=False)

_ROWS = 30


@router.get("")
async def datasets(visit: Page, after: Annotated[str, Query(max_length=40)] = "") -> Response:
    """List one's datasets, every version, the newest first."""
    page = await visit.services.datasets.page(visit.member, _ROWS, after or None)
    paging = views.Paging(
        newer_url="/datasets" if after else None,
        older_url=f"/datasets?after={page.next}" if page.next else None,
    )
    return visit.page(views.Datasets(rows=tuple(dataset_row(one) for one in page.items), paging=paging))


@router.get("/{owner}/{name}/{version}")
async def dataset(reference: Ref, visit: Page) -> Response:
    """Show a version of a dataset and its files, by number, whole digest or `latest`."""
    who, datasets = visit.member, visit.services.datasets
    found = await datasets.version(who, reference.owner, reference.model, reference.version)
    files = file_rows(await datasets.manifest(who, found))
    return visit.page(views.DatasetPage(row=dataset_row(found), files=files))
