"""Pages: the instance, for its operators."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.mail import FolderMailer
from vitrine_api.pages import Page, see
from vitrine_api.policy import Action, require
from vitrine_api.presenters.operator import letter_row, mail_row, operator_view
from vitrine_api.presenters.runners import fleet_view
from vitrine_api.routes.operator import Number

router = APIRouter(prefix="/operator", include_in_schema=False)

_LETTERS = 30
After = Annotated[str, Query(max_length=40)]


def _paging(url: str, after: str, following: str | None) -> views.Paging:
    return views.Paging(
        newer_url=url if after else None, older_url=f"{url}?after={following}" if following else None
    )


@router.get("")
async def operator(visit: Page) -> Response:
    """Show how the instance is."""
    who, services = visit.member, visit.services
    require(who, Action.OPERATE, None)
    health, queues, storage, letters = await asyncio.gather(
        services.instance.health(who),
        services.instance.queues(who),
        services.instance.storage(who),
        services.dead_letters.count(who),
    )
    return visit.page(operator_view(health, queues, storage, services.instance.settings(who), letters))


@router.get("/runners")
async def runners(visit: Page) -> Response:
    """Show what every runner has at work."""
    return visit.page(fleet_view(await visit.services.runners.state(visit.member)))


@router.get("/dead-letters")
async def dead_letters(visit: Page, after: After = "") -> Response:
    """List messages that nobody could handle."""
    who, letters = visit.member, visit.services.dead_letters
    page = await letters.page(who, _LETTERS, after or None)
    return visit.page(
        views.DeadLetters(
            letters=tuple(letter_row(letter) for letter in page.items),
            total=await letters.count(who),
            paging=_paging("/operator/dead-letters", after, page.next),
        )
    )


@router.post("/dead-letters/{number}/replay")
async def replay(number: Number, visit: Page, request: Request) -> Response:
    """Send a dead letter's message again."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.dead_letters.replay(who, number)
    return see("/operator/dead-letters")


@router.post("/dead-letters/{number}/drop")
async def drop(number: Number, visit: Page, request: Request) -> Response:
    """Forget a dead letter."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.dead_letters.drop(who, number)
    return see("/operator/dead-letters")


@router.get("/mails")
async def mails(visit: Page) -> Response:
    """Show the mails of an instance without a mail server."""
    require(visit.member, Action.OPERATE, None)
    found = await visit.services.folder_mails()
    by_server = not isinstance(visit.services.mailer, FolderMailer)
    return visit.page(views.Mails(mails=tuple(mail_row(mail) for mail in found), by_server=by_server))
