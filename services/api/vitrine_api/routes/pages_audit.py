"""Pages: the audit log, one's own and the instance's."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.pages import Page, Visit
from vitrine_api.presenters.operator import audit_rows
from vitrine_api.routes.audit import OfAction, csv_response

router = APIRouter(include_in_schema=False)

_ROWS = 50
After = Annotated[str, Query(max_length=40)]
ACTIONS = (
    "login",
    "account.created",
    "link.created",
    "link.changed",
    "link.revoked",
    "link.unblinded",
    "run.requested",
    "version.created",
    "token.created",
    "token.revoked",
    "invite.created",
    "dead_letter.replayed",
    "dead_letter.dropped",
)
"""What can be chosen from; any other action is found by its name, too."""


@router.get("/audit")
async def audit(visit: Page, action: OfAction = "", after: After = "") -> Response:
    """Show what was done to one's own things."""
    return await _page(visit, action, after, of_all=False)


@router.get("/operator/audit")
async def audit_of_all(visit: Page, action: OfAction = "", after: After = "") -> Response:
    """Show everything that was done."""
    return await _page(visit, action, after, of_all=True)


@router.get("/audit.csv")
async def audit_csv(visit: Page, action: OfAction = "") -> Response:
    """Download what was done to one's own things."""
    return csv_response(visit.services, visit.member, action, of_all=False)


@router.get("/operator/audit.csv")
async def audit_csv_of_all(visit: Page, action: OfAction = "") -> Response:
    """Download everything that was done."""
    return csv_response(visit.services, visit.member, action, of_all=True)


async def _page(visit: Visit, action: str, after: str, *, of_all: bool) -> Response:
    log = visit.services.audit_log
    read = log.page_of_all if of_all else log.page
    page = await read(visit.member, _ROWS, after or None, action)
    url = "/operator/audit" if of_all else "/audit"
    kept = {"action": action} if action else {}
    older = f"{url}?{urlencode({**kept, 'after': page.next})}" if page.next else None
    return visit.page(
        views.Audit(
            entries=audit_rows(page.items, await log.names(page.items), linked=not of_all),
            url=url,
            action=action,
            actions=ACTIONS if not action or action in ACTIONS else (*ACTIONS, action),
            of_all=of_all,
            csv_url=f"{url}.csv" + (f"?{urlencode(kept)}" if kept else ""),
            paging=views.Paging(newer_url=f"{url}?{urlencode(kept)}" if after else None, older_url=older),
        )
    )
