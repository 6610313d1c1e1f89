"""Pages: deleting something after its name was typed."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.dependencies import SESSION_COOKIE
from vitrine_api.forms import text_of
from vitrine_api.pages import Page, field_problems, see
from vitrine_common.documents import DeletionKind
from vitrine_common.errors import Conflict, Invalid

router = APIRouter(include_in_schema=False)

_AFTER = {
    "account": "/login",
    "model": "/models",
    "version": "/models",
    "dataset": "/datasets",
    "link": "/links",
}


@router.get("/settings/export")
async def export(visit: Page) -> Response:
    """Return everything that one owns, as a ZIP file of JSON files."""
    packed = await visit.services.account_export.archive(visit.member)
    headers = {"Content-Disposition": 'attachment; filename="vitrine-account.zip"'}
    return Response(packed, media_type="application/zip", headers=headers)


@router.get("/deletions/new")
async def confirm(
    visit: Page,
    kind: Annotated[DeletionKind, Query()],
    reference: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Say what will be gone, and ask for the name."""
    user = visit.member.user
    reference = user.name if kind == "account" else reference
    known = bool(user.password_hash)
    return visit.page(views.ConfirmDeletion(kind=kind, reference=reference, has_password=known))


@router.post("/deletions")
async def delete(visit: Page, request: Request) -> Response:
    """Delete for good."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        kind, reference, typed, password = (
            text_of(form, name) for name in ("kind", "reference", "confirm", "password")
        )
    if kind not in get_args(DeletionKind):
        raise Invalid("kind: is nothing that can be deleted")
    try:
        if kind == "account":
            await visit.services.deleting.delete_account(who, typed, password)
        else:
            await visit.services.deleting.delete(who, cast("DeletionKind", kind), reference, typed)
    except (Invalid, Conflict) as error:
        problems = field_problems(error.problems) or (views.FieldProblem(field="", message=error.message),)
        known = bool(who.user.password_hash)
        view = views.ConfirmDeletion(kind=kind, reference=reference, has_password=known, problems=problems)
        return visit.page(view, error.status)
    response = see(_AFTER[kind])
    if kind == "account":
        response.delete_cookie(SESSION_COOKIE, path="/")
    return response
