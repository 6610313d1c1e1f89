"""Pages: accounts as operators see them, with their roles and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast, get_args

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.forms import text_of, texts_of
from vitrine_api.link_wishes import parse_bytes
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.presenters.operator import quota_fields, user_row
from vitrine_api.roles import QUOTAS
from vitrine_common.documents import Role
from vitrine_common.errors import Conflict, Invalid, Problem, VitrineError

router = APIRouter(prefix="/operator/users", include_in_schema=False)

_USERS = 20
_MOST = 1 << 40
Name = Annotated[str, Path(max_length=64)]


@router.get("")
async def users(visit: Page, after: Annotated[str, Query(max_length=40)] = "") -> Response:
    """List the accounts."""
    page = await visit.services.user_list.page(visit.member, _USERS, after or None)
    url = "/operator/users"
    paging = views.Paging(
        newer_url=url if after else None, older_url=f"{url}?after={page.next}" if page.next else None
    )
    return visit.page(views.Users(users=tuple(user_row(one) for one in page.items), paging=paging))


@router.get("/{name}")
async def user(name: Name, visit: Page, saved: Literal["", "roles", "quotas"] = "") -> Response:
    """Show an account with its roles, quotas and what it uses."""
    words = {"roles": "The roles are saved.", "quotas": "The quotas are saved."}
    notice = views.Notice(text=words[saved]) if saved else None
    return visit.page(await _view(visit, name), notice=notice)


async def _view(visit: Visit, name: str, error: VitrineError | None = None) -> views.UserPage:
    services, who = visit.services, visit.member
    found = await services.user_list.one(who, name)
    problems = field_problems(error.problems) if error else ()
    if error and not problems:
        problems = (views.FieldProblem(field="", message=error.message),)
    return views.UserPage(
        user=user_row(found),
        operator=found.user.operator,
        given=tuple(found.user.roles),
        fields=quota_fields(found.user, services.settings),
        is_self=found.user.id == who.id,
        problems=problems,
    )


@router.post("/{name}/roles")
async def set_roles(name: Name, visit: Page, request: Request) -> Response:
    """Give an account exactly the roles that are marked."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        marked = texts_of(form, "role")
    roles = [cast("Role", role) for role in marked if role in get_args(Role)]
    try:
        await visit.services.roles.set(who, name, roles, operator="operator" in marked)
    except Conflict as error:
        return visit.page(await _view(visit, name, error), error.status)
    return see(f"/operator/users/{name}?saved=roles")


@router.post("/{name}/quotas")
async def set_quotas(name: Name, visit: Page, request: Request) -> Response:
    """Give an account quotas of its own; an empty field is the instance's."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        given = {quota: text_of(form, quota).strip() for quota in QUOTAS}
    try:
        await visit.services.roles.set_quotas(who, name, _quotas(given))
    except Invalid as error:
        return visit.page(await _view(visit, name, error), error.status)
    return see(f"/operator/users/{name}?saved=quotas")


def _quotas(given: Mapping[str, str]) -> dict[str, int | None]:
    """Return quotas in bytes, runs and seconds. Raises Invalid naming the field."""
    found: dict[str, int | None] = {}
    for name, text in given.items():
        if not text:
            found[name] = None
        elif name == "max_storage_bytes":
            found[name] = 0 if text == "0" else parse_bytes(text, name)
        else:
            found[name] = _whole(text, name) * (60 if name == "max_build_seconds_per_day" else 1)
    return found


def _whole(text: str, field: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:13]) <= _MOST // 60:
        return int(text)
    message = f"`{text[:40]}` is no whole number from 0 on; leave it empty for everybody's"
    raise Invalid(f"{field}: {message}", (Problem(field, message),))
