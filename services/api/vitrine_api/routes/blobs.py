"""Uploads."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who
from vitrine_api.policy import Action, require
from vitrine_api.routes.accounts import Strict
from vitrine_api.run_inputs import safe_filename
from vitrine_api.uploads import Part
from vitrine_common.digests import Digest

router = APIRouter(prefix="/api/v1/blobs", tags=["blobs"])


class BlobIn(Strict):
    """A blob that a client has."""

    digest: Digest
    size: int = Field(ge=0)


class BlobsIn(Strict):
    """Blobs that a client has."""

    blobs: list[BlobIn] = Field(max_length=1000)


class MissingBlob(BaseModel):
    """Where a blob is sent: each part by PUT to its address, then `POST /blobs/complete`."""

    digest: str
    size: int
    upload_id: str
    expires_at: datetime
    parts: list[Part]


class MissingOut(BaseModel):
    """What is to be sent."""

    missing: list[MissingBlob]


class CompleteIn(Strict):
    """An upload whose parts were all sent."""

    upload_id: str = Field(max_length=64)


class BlobOut(BaseModel):
    """A blob that is present."""

    digest: str
    size: int


class FileOut(BlobOut):
    """A blob as the value of a file input."""

    media_type: str
    filename: str


@router.post("/missing")
async def missing(body: BlobsIn, who: Who, app: App) -> MissingOut:
    """Say which blobs are not present for this account, and where to send them."""
    wanted = [(blob.digest, blob.size) for blob in body.blobs]
    begun = await app.uploads.begin_missing(who, wanted)
    return MissingOut(
        missing=[
            MissingBlob(
                digest=upload.digest,
                size=upload.size,
                upload_id=upload.id,
                expires_at=upload.expires_at,
                parts=parts,
            )
            for upload, parts in begun
        ]
    )


@router.post("/complete")
async def complete(body: CompleteIn, who: Who, app: App) -> BlobOut:
    """Check size and digest of an upload and keep it."""
    upload = await app.uploads.complete(who, body.upload_id)
    return BlobOut(digest=upload.digest, size=upload.size)


@router.put("", status_code=201)
async def put(request: Request, who: Who, app: App) -> FileOut:
    """Keep the request's body: for files that are small, or sent by a browser."""
    require(who, Action.CHANGE, None)
    digest, size = await app.uploads.store(who.id, request.stream())
    return FileOut(
        digest=digest,
        size=size,
        media_type=request.headers.get("content-type", "application/octet-stream")[:200],
        filename=safe_filename(request.headers.get("x-filename", ""), "file"),
    )
