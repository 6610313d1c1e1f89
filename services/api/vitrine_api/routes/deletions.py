"""Deleting things and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who
from vitrine_api.routes.accounts import Short, Strict
from vitrine_common.documents import Deletion

router = APIRouter(prefix="/api/v1", tags=["deletion"])


class DeletionIn(Strict):
    """A wish to delete something; `confirm` repeats `reference`."""

    kind: Literal["model", "version", "dataset", "link"]
    reference: Short
    confirm: Short


class AccountDeletionIn(Strict):
    """A wish to delete one's account; `confirm` is its name."""

    confirm: Short
    password: str = Field(max_length=1000)


class DeletionOut(BaseModel):
    """A deletion; `done` once nothing is left but blobs that wait for their grace period to end."""

    id: str
    kind: str
    subject_id: str
    done: bool
    created_at: datetime


def _out(deletion: Deletion) -> DeletionOut:
    return DeletionOut.model_validate(deletion.model_dump(include=set(DeletionOut.model_fields)))


@router.post("/deletions", status_code=202)
async def delete(body: DeletionIn, who: Who, app: App) -> DeletionOut:
    """Delete a model, version, dataset or link for good, with everything that was done with it."""
    return _out(await app.deleting.delete(who, body.kind, body.reference, body.confirm))


@router.get("/deletions/{deletion_id}")
async def deletion(deletion_id: str, who: Who, app: App) -> DeletionOut:
    """Say how far a deletion is."""
    return _out(await app.deleting.get(who, deletion_id))


@router.get("/account/export", response_class=Response)
async def export(who: Who, app: App) -> Response:
    """Return everything that one owns, as a ZIP file of JSON files."""
    headers = {"Content-Disposition": 'attachment; filename="vitrine-account.zip"'}
    return Response(await app.account_export.archive(who), media_type="application/zip", headers=headers)


@router.post("/account/deletion", status_code=202)
async def delete_account(body: AccountDeletionIn, who: Who, app: App) -> DeletionOut:
    """Delete one's account with everything it owns; every token and session ends."""
    return _out(await app.deleting.delete_account(who, body.confirm, body.password))
