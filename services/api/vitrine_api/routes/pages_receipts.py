"""Pages: a run's receipt, and checking receipts without an account."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.dependencies import address_of
from vitrine_api.pages import Page, Visit
from vitrine_api.presenters.receipts import finding
from vitrine_api.routes.receipts import receipt_response
from vitrine_api.showings import Shown
from vitrine_common.digests import CHUNK
from vitrine_common.documents import Receipt
from vitrine_common.receipts.dsse import MAX_ENVELOPE_BYTES
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.keys import WELL_KNOWN
from vitrine_common.receipts.openings import MAX_BYTES, read_opening
from vitrine_common.receipts.verification import verify

router = APIRouter(include_in_schema=False)
frames = APIRouter(prefix="/e/{token}/{visitor}", include_in_schema=False)
"""A receipt to keep, where a page of another site shows the run; it is checked elsewhere."""


@router.get("/verify")
async def verify_form(visit: Page) -> Response:
    """Show the form that takes a receipt."""
    return visit.page(_page(visit))


@router.post("/verify")
async def verify_receipt(visit: Page, request: Request) -> Response:
    """Check what was given, and keep nothing of it."""
    visit.services.verifications.take(f"address:{address_of(request)}")
    async with request.form(max_files=3, max_fields=10, max_part_size=MAX_ENVELOPE_BYTES + 1) as form:
        visit.check_form(form)
        text = form.get("receipt")  # longer than other fields
        pasted = text.strip() if isinstance(text, str) else ""
        given = await _content(form, "receipt_file", MAX_ENVELOPE_BYTES) or pasted.encode()
        opening = await _content(form, "opening", MAX_BYTES)
        file = await _digest(form, "output")
    found = await _found(visit, given, opening, file)
    return visit.page(_page(visit, pasted, found), 200 if found.valid else 422)


@router.get("/runs/{run_id}/receipt")
async def receipt(run_id: str, visit: Page) -> Response:
    """Return the receipt of a run, to keep."""
    return receipt_response(await _own(visit, run_id))


@router.get("/runs/{run_id}/verify")
async def verify_own(run_id: str, visit: Page) -> Response:
    """Check the receipt of a run."""
    return await _verified(visit, await _own(visit, run_id), f"/runs/{run_id}")


@router.get("/s/{token}/runs/{run_id}/receipt")
@frames.get("/runs/{run_id}/receipt")
async def receipt_by_link(run_id: str, shown: Shown) -> Response:
    """Return the receipt of one of this visitor's runs, to keep."""
    return shown.answer(receipt_response(await _visitors(shown, run_id)))


@router.get("/s/{token}/runs/{run_id}/verify")
async def verify_by_link(run_id: str, shown: Shown) -> Response:
    """Check the receipt of one of this visitor's runs."""
    back = f"/s/{shown.token}/runs/{run_id}"
    return shown.answer(await _verified(shown.visit, await _visitors(shown, run_id), back))


async def _own(visit: Visit, run_id: str) -> Receipt:
    record = await visit.services.runs.get(visit.member, run_id)
    return await visit.services.receipts.read(visit.member, record.request)


async def _visitors(shown: Shown, run_id: str) -> Receipt:
    services = shown.visit.services
    record = await services.runs.get(shown.visitor, run_id)
    return await services.receipts.read(shown.visitor, record.request)


async def _verified(visit: Visit, receipt: Receipt, back_url: str) -> Response:
    found = await _found(visit, receipt.envelope.encode(), b"", None)
    return visit.page(_page(visit, receipt.envelope, found, back_url))


def _page(
    visit: Visit, receipt: str = "", found: views.Finding | None = None, back_url: str | None = None
) -> views.Verify:
    instance = visit.services.settings.base_url
    return views.Verify(
        instance=instance, keys_url=WELL_KNOWN, receipt=receipt, finding=found, back_url=back_url
    )


async def _found(visit: Visit, given: bytes, opening: bytes, file: str | None) -> views.Finding:
    if not given:
        return views.Finding(valid=False, title="There is nothing to check", message="Give a receipt.")
    keys = await visit.services.receipts.signer.published()
    try:
        opened = read_opening(opening) if opening else None
    except Malformed as error:
        return views.Finding(valid=False, title="The opening cannot be read", message=error.message)
    return finding(verify(given, keys), opened, file)


async def _content(form: FormData, name: str, limit: int) -> bytes:
    """Return the bytes of a file in a form, one more than `limit` at most: more is refused later."""
    given = form.get(name)
    return await given.read(limit + 1) if isinstance(given, UploadFile) else b""


async def _digest(form: FormData, name: str) -> str | None:
    given = form.get(name)
    if not isinstance(given, UploadFile) or not given.filename:
        return None
    found = hashlib.sha256()
    while chunk := await given.read(CHUNK):
        found.update(chunk)
    return "sha256:" + found.hexdigest()
