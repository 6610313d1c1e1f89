"""Pages: notifications, the end of mails, webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.forms import text_of, texts_of
from vitrine_api.pages import Page, Visit, local_url, see
from vitrine_api.presenters.notifications import delivery_row, kind_choices, notification_row, webhook_row
from vitrine_api.views import notifications as shown
from vitrine_common.errors import Conflict, Invalid, Unavailable, VitrineError

router = APIRouter(include_in_schema=False)

_ON_A_PAGE = 50
After = Annotated[str | None, Query(max_length=40)]
MailToken = Annotated[str, Path(max_length=200)]


@router.get("/notifications")
async def notifications(visit: Page, after: After = None) -> Response:
    """Show what the account was told."""
    who = visit.member
    page = await visit.services.notices.page(who, _ON_A_PAGE, after)
    chosen = [name for name, wanted in (await visit.services.wishes.of(who)).items() if wanted]
    return visit.page(
        shown.Notifications(
            rows=tuple(notification_row(item) for item in page.items),
            mail=kind_choices(chosen, with_silent=False),
            email=who.user.email,
            unread=await visit.services.notices.unread(who),
            paging=views.Paging(
                newer_url="/notifications" if after else None,
                older_url=f"/notifications?after={page.next}" if page.next else None,
            ),
        )
    )


@router.get("/notifications/{notification_id}")
async def open_notification(notification_id: str, visit: Page) -> Response:
    """Mark one as read and lead to the page that shows more."""
    notification = await visit.services.notices.read(visit.member, notification_id)
    return see(local_url(notification.path or "/notifications"))


@router.post("/notifications/read")
async def read_all(visit: Page, request: Request) -> Response:
    """Mark all as read."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.notices.read_all(who)
    return see("/notifications")


@router.post("/notifications/mail")
async def choose_mail(visit: Page, request: Request) -> Response:
    """Choose what is mailed."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        kinds = texts_of(form, "kind")
    await visit.services.wishes.choose(who, kinds)
    return see("/notifications")


@router.get("/unsubscribe/{token}")
async def unsubscribe_form(token: MailToken, visit: Page) -> Response:
    """Ask whether a kind of mails shall end; programs that look at links in mails change nothing."""
    _, kind = await visit.services.wishes.meant(token)
    return visit.page(shown.Unsubscribed(title=kind.title, done=False, url=f"/unsubscribe/{token}"))


@router.post("/unsubscribe/{token}")
async def unsubscribe(token: MailToken, visit: Page) -> Response:
    """End a kind of mails. Whoever has the mail may, by the button or by the mail program's (RFC 8058)."""
    kind = await visit.services.wishes.unsubscribe(token)
    return visit.page(shown.Unsubscribed(title=kind.title, done=True, url=""))


@router.get("/settings/webhooks")
async def webhooks(visit: Page) -> Response:
    """Show the account's webhooks."""
    return visit.page(await _webhooks(visit))


async def _webhooks(visit: Visit, url: str = "", error: VitrineError | None = None) -> shown.Webhooks:
    hooks = await visit.services.hooks.mine(visit.member)
    problems = (views.FieldProblem(field="", message=error.message.removeprefix("url: ")),) if error else ()
    return shown.Webhooks(
        rows=tuple(webhook_row(hook) for hook in hooks),
        kinds=kind_choices((), with_silent=True),
        url=url,
        problems=problems,
    )


@router.post("/settings/webhooks")
async def create_webhook(visit: Page, request: Request) -> Response:
    """Make a webhook and show its secret this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        url, kinds = text_of(form, "url").strip(), texts_of(form, "kind")
    try:
        hook, secret = await visit.services.hooks.create(who, url, kinds)
    except (Invalid, Conflict, Unavailable) as error:
        return visit.page(await _webhooks(visit, url, error), 400)
    return visit.page(await _webhook(visit, hook.id, secret), 201)


@router.get("/settings/webhooks/{hook_id}")
async def webhook(hook_id: str, visit: Page) -> Response:
    """Show a webhook and the last messages to it."""
    return visit.page(await _webhook(visit, hook_id))


async def _webhook(visit: Visit, hook_id: str, secret: str | None = None) -> shown.WebhookPage:
    hook = await visit.services.hooks.get(visit.member, hook_id)
    deliveries = await visit.services.hooks.deliveries(visit.member, hook_id)
    return shown.WebhookPage(
        row=webhook_row(hook),
        problem=hook.problem,
        can_switch_on=not hook.active,
        deliveries=tuple(delivery_row(item) for item in deliveries),
        new_secret=secret,
    )


@router.post("/settings/webhooks/{hook_id}/secret")
async def rotate(hook_id: str, visit: Page, request: Request) -> Response:
    """Make a new secret and show it this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    _, secret = await visit.services.hooks.rotate(who, hook_id)
    return visit.page(await _webhook(visit, hook_id, secret), 201)


@router.post("/settings/webhooks/{hook_id}/{wish}")
async def change_webhook(hook_id: str, wish: str, visit: Page, request: Request) -> Response:
    """Send a test message, switch on, replay or remove."""
    who, hooks = visit.member, visit.services.hooks
    async with request.form() as form:
        visit.check_form(form)
        delivery = text_of(form, "delivery")
    if wish == "remove":
        await hooks.remove(who, hook_id)
        return see("/settings/webhooks")
    match wish:
        case "test":
            await hooks.test(who, hook_id)
        case "activation":
            await hooks.switch_on(who, hook_id)
        case "replay":
            await hooks.replay(who, hook_id, delivery)
        case _:
            raise Invalid(f"a webhook knows no {wish[:40]}")
    return see(f"/settings/webhooks/{hook_id}")
