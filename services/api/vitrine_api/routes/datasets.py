"""Datasets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from vitrine_api.claims.describing import DatasetDetail, DatasetFileOut, DatasetOut, dataset_out
from vitrine_api.dependencies import App, Pages, Ref, Who
from vitrine_api.resources import Listed
from vitrine_api.routes.accounts import Strict

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])


class DatasetIn(Strict):
    """Files that are present, as in a manifest: `[{"path", "digest", "size"}]`."""

    name: str = Field(max_length=64)
    files: list[Any] = Field(max_length=20_000)
    private: bool = False


@router.post("", status_code=201, responses={200: {"model": DatasetOut}})
async def create(body: DatasetIn, response: Response, who: Who, app: App) -> DatasetOut:
    """Make a version of a dataset; 200 when that version is there already."""
    version, is_new = await app.datasets.create(who, body.name, body.files, private=body.private)
    if not is_new:
        response.status_code = 200
    return dataset_out(version)


@router.get("")
async def datasets(who: Who, app: App, paging: Pages) -> Listed[DatasetOut]:
    """List one's datasets, every version, newest first."""
    page = await app.datasets.page(who, paging.limit, paging.after)
    return Listed(items=[dataset_out(version) for version in page.items], next=page.next)


@router.get("/{owner}/{name}/{version}")
async def dataset(reference: Ref, who: Who, app: App) -> DatasetDetail:
    """Show a dataset and its files, by number, whole digest or `latest`."""
    found = await app.datasets.version(who, reference.owner, reference.model, reference.version)
    manifest = await app.datasets.manifest(who, found)
    files = [DatasetFileOut(path=e.path, digest=e.digest, size=e.size) for e in manifest.files]
    return DatasetDetail(**dataset_out(found).model_dump(), files=files)
