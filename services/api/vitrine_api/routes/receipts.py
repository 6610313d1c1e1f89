"""Receipts: the keys that sign them, one for each run, checking them, opening blind ones."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who, address_of
from vitrine_api.routes.link_holders import Holder
from vitrine_common.documents import Receipt
from vitrine_common.receipts.dsse import MEDIA_TYPE
from vitrine_common.receipts.keys import WELL_KNOWN
from vitrine_common.receipts.verification import Fault, verify

router = APIRouter(tags=["receipts"])

_API = "/api/v1"
_DSSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "The DSSE envelope."}
}


class JwkOut(BaseModel):
    """An Ed25519 key (RFC 8037) and when it was good for signing."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: str
    not_before: str
    not_after: str | None = None
    revoked_at: str | None = None
    revocation_reason: str | None = None


class KeysOut(BaseModel):
    """Every key that ever signed receipts here."""

    instance: str
    keys: list[JwkOut]


class VerificationOut(BaseModel):
    """What a receipt proves."""

    valid: bool
    fault: Fault | None
    message: str
    key_id: str
    statement: dict[str, Any] | None = Field(description="What was signed; absent unless the signature fits.")


@router.get(WELL_KNOWN, response_model_exclude_none=True)
async def keys(app: App, response: Response) -> KeysOut:
    """Publish the public keys: whoever has them checks receipts without this instance."""
    response.headers["Cache-Control"] = "public, max-age=60"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return KeysOut.model_validate((await app.receipts.signer.published()).document())


@router.get(_API + "/runs/{run_id}/receipt", response_class=Response, responses=_DSSE)
async def run_receipt(run_id: str, who: Who, app: App) -> Response:
    """Return the signed receipt of a run that succeeded or failed."""
    record = await app.runs.get(who, run_id)
    return receipt_response(await app.receipts.read(who, record.request))


@router.get(_API + "/links/{token}/runs/{run_id}/receipt", response_class=Response, responses=_DSSE)
async def run_receipt_by_link(run_id: str, holder: Holder, app: App) -> Response:
    """Return the signed receipt of one of this visitor's runs."""
    record = await app.runs.get(holder, run_id)
    return receipt_response(await app.receipts.read(holder, record.request))


@router.get(_API + "/links/{link_id}/opening")
async def opening(link_id: str, who: Who, app: App) -> dict[str, Any]:
    """Return what opens the receipts of one's blind link, once it need not be blind any more."""
    return (await app.receipts.opening(who, link_id)).document()


@router.post(
    _API + "/receipts/verify",
    openapi_extra={"requestBody": {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}},
)
async def check(request: Request, app: App) -> VerificationOut:
    """Say whether a receipt of this instance holds; the body is the file, byte for byte."""
    app.verifications.take(f"address:{address_of(request)}")
    found = verify(await request.body(), await app.receipts.signer.published())
    return VerificationOut(
        valid=found.valid,
        fault=found.fault,
        message=found.message,
        key_id=found.key_id,
        statement=found.statement.document() if found.statement else None,
    )


def receipt_response(receipt: Receipt) -> Response:
    """Return a receipt as the file that it is: byte for byte what was signed and stored."""
    name = f"receipt-{receipt.subject_id}.json"
    return Response(
        receipt.envelope,
        media_type=MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, max-age=3600",
        },
    )
