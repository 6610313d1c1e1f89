"""Sample data of notifications and webhooks."""

from __future__ import annotations

from dataclasses import replace

from view_samples.visitor import ANONYMOUS, LONG, OWNER, ago
from vitrine_api.presenters.notifications import kind_choices
from vitrine_api.views import RequestContext, View
from vitrine_api.views.notifications import (
    DeliveryRow,
    NotificationRow,
    Notifications,
    Unsubscribed,
    WebhookPage,
    WebhookRow,
    Webhooks,
)
from vitrine_api.views.page import FieldProblem, Paging

_HOOK = WebhookRow(
    id="hook_1",
    url="https://ci.example.org/vitrine?team=vision",
    told_of="claim.checked, version.ready",
    state="working",
    tone="good",
    made_at=ago(days=3),
)
_OFF = replace(_HOOK, id="hook_2", url=f"https://example.org/{LONG}", state="switched off", tone="bad")


def _delivery(state: str, tone: str, answer: str, tries: int) -> DeliveryRow:
    return DeliveryRow(
        id=f"delivery_{state}",
        kind="claim.checked",
        state=state,
        tone=tone,  # type: ignore[arg-type]
        answer=answer,
        tries=tries,
        at=ago(minutes=5 * tries + 1),
        body='{"type": "claim.checked", "data": {"claim": "accuracy", "verdict": "reproduced"}}',
        can_replay=state in {"delivered", "failed"},
    )


def _news(title: str, text: str, minutes: float, *, unread: bool = False) -> NotificationRow:
    return NotificationRow(
        title=title, text=text, url="/notifications/n", unread=unread, at=ago(minutes=minutes)
    )


NEWS_SAMPLES: dict[str, tuple[View, RequestContext]] = {
    "notifications": (
        Notifications(
            rows=(
                _news(
                    "The claim “accuracy” of ada/digits@3 was reproduced",
                    "Claimed: 0.983; measured: 0.983.",
                    3,
                    unread=True,
                ),
                _news(
                    "The packages of ada/digits@4 cannot be installed",
                    "requirements.txt line 3: no version of `torhc` exists; did you mean `torch`?",
                    40,
                    unread=True,
                ),
                _news("The link “Reviewer 2” was used for the first time", "", 300),
                _news(f"ada/{LONG}@12 can be run", "", 3000),
            ),
            mail=kind_choices(("claim.checked", "version.build_failed", "link.expiring"), with_silent=False),
            email="ada@example.org",
            unread=2,
            paging=Paging(older_url="/notifications?after=1.1"),
        ),
        replace(OWNER, path="/notifications", unread=2),
    ),
    "notifications-empty": (
        Notifications(rows=(), mail=kind_choices((), with_silent=False), email="ada@example.org", unread=0),
        replace(OWNER, path="/notifications"),
    ),
    "unsubscribe": (
        Unsubscribed(title="A claim of yours was checked", done=False, url="/unsubscribe/x"),
        ANONYMOUS,
    ),
    "unsubscribed": (
        Unsubscribed(title="A claim of yours was checked", done=True, url=""),
        ANONYMOUS,
    ),
    "webhooks": (
        Webhooks(rows=(_HOOK, _OFF), kinds=kind_choices((), with_silent=True)),
        replace(OWNER, path="/settings/webhooks", unread=120),
    ),
    "webhooks-problem": (
        Webhooks(
            rows=(),
            kinds=kind_choices((), with_silent=True),
            url="http://10.0.0.1/",
            problems=(FieldProblem(field="", message="10.0.0.1 is inside a private network"),),
        ),
        replace(OWNER, path="/settings/webhooks"),
    ),
    "webhook": (
        WebhookPage(
            row=_HOOK,
            problem="",
            can_switch_on=False,
            deliveries=(
                _delivery("waiting", "busy", "the address answers 503", 2),
                _delivery("delivered", "good", "204 after 81 ms", 1),
                _delivery("failed", "bad", f"the name {LONG} does not resolve", 9),
            ),
            new_secret="whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" * 2,
        ),
        replace(OWNER, path="/settings/webhooks"),
    ),
    "webhook-off": (
        WebhookPage(row=_OFF, problem="the address answers 500", can_switch_on=True, deliveries=()),
        replace(OWNER, path="/settings/webhooks"),
    ),
}
