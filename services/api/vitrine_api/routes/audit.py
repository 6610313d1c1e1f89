"""The audit log, for programs: as pages of JSON, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from vitrine_api.dependencies import App, Pages, Who
from vitrine_api.policy import Action, Member, require
from vitrine_api.resources import Listed
from vitrine_api.services import Services
from vitrine_common.documents import AuditEntry

router = APIRouter(prefix="/api/v1", tags=["audit"])

MAX_CSV_ROWS = 100_000
_ROWS = 200
_COLUMNS = ("at", "actor", "action", "kind", "subject")
_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}, "description": "Rows, the newest first; at most 100 000."}
}
OfAction = Annotated[str, Query(max_length=60, description="Only this action, such as `link.created`.")]


class AuditOut(BaseModel):
    """One grant, use or revocation; `actor_name` where it was an account that still exists."""

    id: str
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    kind: str
    subject: str


@router.get("/audit")
async def audit(who: Who, app: App, paging: Pages, action: OfAction = "") -> Listed[AuditOut]:
    """List what was done to one's own things, the newest first."""
    page = await app.audit_log.page(who, paging.limit, paging.after, action)
    return Listed(items=await _shown(app, page.items), next=page.next)


@router.get("/operator/audit")
async def audit_of_all(who: Who, app: App, paging: Pages, action: OfAction = "") -> Listed[AuditOut]:
    """List everything that was done, the newest first (operators)."""
    page = await app.audit_log.page_of_all(who, paging.limit, paging.after, action)
    return Listed(items=await _shown(app, page.items), next=page.next)


@router.get("/audit.csv", response_class=StreamingResponse, responses=_CSV)
async def audit_csv(who: Who, app: App, action: OfAction = "") -> StreamingResponse:
    """Download what was done to one's own things."""
    return csv_response(app, who, action, of_all=False)


@router.get("/operator/audit.csv", response_class=StreamingResponse, responses=_CSV)
async def audit_csv_of_all(who: Who, app: App, action: OfAction = "") -> StreamingResponse:
    """Download everything that was done (operators)."""
    return csv_response(app, who, action, of_all=True)


def csv_response(app: Services, who: Member, action: str, *, of_all: bool) -> StreamingResponse:
    """Return the log as a file, a page at a time. Raises Denied before the first byte."""
    require(who, Action.OPERATE if of_all else Action.SEE, None)
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(_rows(app, who, action, of_all=of_all), media_type="text/csv", headers=headers)


async def _rows(app: Services, who: Member, action: str, *, of_all: bool) -> AsyncIterator[str]:
    yield _line(_COLUMNS)
    read = app.audit_log.page_of_all if of_all else app.audit_log.page
    after: str | None = None
    for _ in range(MAX_CSV_ROWS // _ROWS):
        page = await read(who, _ROWS, after, action)
        names = await app.audit_log.names(page.items)
        for entry in page.items:
            actor = names.get(entry.actor) or entry.actor
            yield _line((entry.created_at.isoformat(), actor, entry.action, entry.kind, entry.subject))
        after = page.next
        if after is None:
            return


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    # A cell that begins so would be a formula to a spreadsheet.
    csv.writer(text).writerow([f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell for cell in cells])
    return text.getvalue()


async def _shown(app: Services, entries: list[AuditEntry]) -> list[AuditOut]:
    names = await app.audit_log.names(entries)
    return [
        AuditOut(
            id=entry.id,
            at=entry.created_at,
            actor=entry.actor,
            actor_name=names.get(entry.actor),
            action=entry.action,
            kind=entry.kind,
            subject=entry.subject,
        )
        for entry in entries
    ]
