"""Every route by (anonymous, other user, owner, link holder, revoked link holder).

A route that stands in the application and not in the table fails the test, and the other way round.
For routes with a link's token in their path, the first three hold no token that exists.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from api_instance import FILES, PNG, Account, Instance, api, events_of, manifest
from claims_on_api import SECRET, finish_check, push_dataset
from environment_samples import version_with
from vitrine_api.app import routed
from vitrine_api.credentials import form_token
from vitrine_api.dependencies import SESSION_COOKIE
from vitrine_api.models import parse_reference
from vitrine_api.pages import GUEST_COOKIE
from vitrine_api.policy import ALL_SCOPES, Member
from vitrine_api.showings import VISITOR_COOKIE
from vitrine_api.venues.plans import VenueWish, parse_roster
from vitrine_api.venues.submitting import Entry
from vitrine_api.venues.tokens import reviewer_token, submit_token
from vitrine_api.webhooks.signing import new_secret
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Notification, Output, RunHook, Trial, Webhook, WebhookDelivery
from vitrine_common.ids import new_id
from vitrine_common.states import DeliveryState, TrialState

__all__ = ["api"]

Statuses = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Row:
    """What the five get, and what they send."""

    statuses: Statuses
    json: Any = None
    form: dict[str, str] | None = None


def everybody(status: int = 200) -> Row:
    """Open to all."""
    return Row((status,) * 5)


def account(status: int = 200, **sent: Any) -> Row:
    """For everybody with an account, about their own things."""
    return Row((401, status, status, 401, 401), **sent)


def owner(status: int = 200, *, other: int = 404, **sent: Any) -> Row:
    """For the owner; others must not learn that it exists."""
    return Row((401, other, status, 401, 401), **sent)


def operator(**sent: Any) -> Row:
    """For operators, which none of the five is."""
    return Row((401, 403, 403, 401, 401), **sent)


def holder(status: int = 200, **sent: Any) -> Row:
    """For whoever holds the link."""
    return Row((404, 404, 404, status, 410), **sent)


def page(status: int = 200) -> Row:
    """A page for the owner; those without a login are led to it."""
    return Row((303, 404, status, 303, 303))


def own_page(status: int = 200) -> Row:
    """A page about one's own things."""
    return Row((303, status, status, 303, 303))


def form(status: int = 303, *, other: int | None = None, **fields: str) -> Row:
    """A form of a page."""
    return Row((401, status if other is None else other, status, 401, 401), form=fields)


A = "/api/v1"
V = "/versions/{owner}/{name}/{version}"
TABLE: dict[str, Row] = {
    f"GET {A}/openapi.json": everybody(),
    "GET /healthz": everybody(),
    "GET /static/{path:path}": everybody(),
    f"POST {A}/login": Row((401,) * 5, json={"email": "nobody@example.org", "password": "wrong"}),
    f"POST {A}/logout": account(204),
    f"GET {A}/whoami": account(),
    f"GET {A}/tokens": account(),
    f"POST {A}/tokens": account(201, json={"label": "another"}),
    f"DELETE {A}/tokens/{{token_id}}": owner(204),
    f"GET {A}/invites": account(),
    f"POST {A}/invites": operator(json={}),
    f"DELETE {A}/invites/{{invite_id}}": owner(404),
    f"POST {A}/invites/accept": account(410, json={"code": "of nobody"}),
    f"POST {A}/password-resets": Row((202,) * 5, json={"email": "nobody@example.org"}),
    f"POST {A}/password-resets/{{ticket}}": Row((410,) * 5, json={"password": "long enough it is"}),
    f"PUT {A}/account/password": account(422, json={"current": "wrong", "password": "long enough it is"}),
    f"POST {A}/account/email": account(422, json={"email": "no address", "password": "wrong"}),
    f"GET {A}/account/sessions": account(),
    f"DELETE {A}/account/sessions/{{session_id}}": account(404),
    f"GET {A}/collaborations": account(),
    f"POST {A}/deletions": owner(422, json={"kind": "model", "reference": "a/b", "confirm": "c"}, other=422),
    f"GET {A}/deletions/{{deletion_id}}": account(404),
    f"POST {A}/account/deletion": account(422, json={"confirm": "nobody", "password": "wrong"}),
    f"GET {A}/account/export": account(),
    "GET /settings/export": own_page(),
    "GET /deletions/new": Row((422,) * 5),
    "POST /deletions": form(422, kind="model", reference="a/b", confirm="c"),
    f"GET {A}/models/{{owner}}/{{name}}/collaborators": owner(),
    f"POST {A}/models/{{owner}}/{{name}}/collaborators": owner(201, json={}),
    f"DELETE {A}/models/{{owner}}/{{name}}/collaborators/{{user}}": owner(404),
    f"GET {A}/users/{{user}}/roles": operator(),
    f"PUT {A}/users/{{user}}/roles": operator(json={"roles": ["chair"]}),
    f"PUT {A}/users/{{user}}/quotas": operator(json={"max_runs_per_day": 1}),
    "GET /reset": everybody(),
    "POST /reset": Row((200,) * 5, form={"email": "nobody@example.org"}),
    "GET /reset/{ticket}": Row((410,) * 5),
    "POST /reset/{ticket}": Row((410,) * 5, form={"password": "long enough it is"}),
    # Without a provider there is nothing; with one: tests of the logins by it.
    "GET /login/oidc": Row((404,) * 5),
    "GET /login/oidc/callback": Row((404,) * 5),
    "POST /settings/identities": form(404),
    "GET /settings/identities/go": own_page(404),
    "POST /settings/identities/{identity_id}/remove": form(404),
    "POST /settings/password": form(422, current="wrong", password="long enough it is"),
    "POST /settings/email": form(422, email="no address", password="wrong"),
    "GET /settings/email/{ticket}": everybody(),
    "POST /settings/email/{ticket}": Row((410,) * 5, form={}),
    "POST /settings/sessions/{session_id}/end": form(404),
    "POST /settings/invites/{invite_id}/withdraw": form(404),
    "GET /join": Row((410,) * 5),
    "POST /join": form(410, invite="of nobody"),
    "GET /models/{owner}/{name}/collaborators": page(),
    "POST /models/{owner}/{name}/collaborators": form(201, other=404),
    "POST /models/{owner}/{name}/collaborators/{user}/remove": form(404),
    f"POST {A}/accounts": Row(
        (410,) * 5, json={"code": "x", "email": "a@b.org", "name": "a", "password": "long enough it is"}
    ),
    f"POST {A}/blobs/missing": account(json={"blobs": []}),
    f"POST {A}/blobs/complete": owner(404, json={"upload_id": "upload_of_nobody"}),
    f"PUT {A}/blobs": account(201),
    # Others have none of the bytes, and are told so for each file, whoever else has them.
    f"POST {A}/versions": owner(200, other=422, json="manifest"),
    f"GET {A}/dashboard": account(),
    f"GET {A}/audit": account(),
    f"GET {A}/audit.csv": account(),
    f"GET {A}/operator/audit": operator(),
    f"GET {A}/operator/audit.csv": operator(),
    f"GET {A}/operator/health": operator(),
    f"GET {A}/operator/queues": operator(),
    f"GET {A}/operator/storage": operator(),
    f"GET {A}/operator/settings": operator(),
    f"GET {A}/operator/runners": operator(),
    f"GET {A}/operator/users": operator(),
    f"GET {A}/operator/mails": operator(),
    f"GET {A}/operator/dead-letters": operator(),
    f"GET {A}/operator/dead-letters/{{number}}": operator(),
    f"POST {A}/operator/dead-letters/{{number}}/replay": operator(),
    f"DELETE {A}/operator/dead-letters/{{number}}": operator(),
    "GET /audit": own_page(),
    "GET /audit.csv": own_page(),
    "GET /operator": Row((303, 403, 403, 303, 303)),
    "GET /operator/audit": Row((303, 403, 403, 303, 303)),
    "GET /operator/audit.csv": Row((303, 403, 403, 303, 303)),
    "GET /operator/runners": Row((303, 403, 403, 303, 303)),
    "GET /operator/users": Row((303, 403, 403, 303, 303)),
    "GET /operator/users/{name}": Row((303, 403, 403, 303, 303)),
    "POST /operator/users/{name}/roles": form(403, role="operator"),
    "POST /operator/users/{name}/quotas": form(403, max_runs_per_day="9"),
    "GET /operator/mails": Row((303, 403, 403, 303, 303)),
    "GET /operator/dead-letters": Row((303, 403, 403, 303, 303)),
    "POST /operator/dead-letters/{number}/replay": form(403),
    "POST /operator/dead-letters/{number}/drop": form(403),
    f"GET {A}/models": account(),
    f"GET {A}/models/{{owner}}/{{name}}": owner(),
    f"GET {A}/models/{{owner}}/{{name}}/versions": owner(),
    f"GET {A}/versions/{{version_id}}": owner(),
    f"GET {A}/versions/{{version_id}}/events": owner(),
    f"GET {A}{V}": owner(),
    f"GET {A}{V}/manifest": owner(),
    f"GET {A}{V}/diff": owner(),
    f"POST {A}{V}/runs": owner(202, json={"inputs": {}}),
    f"GET {A}{V}/monitor": owner(),
    f"GET {A}{V}/scoring": owner(),
    "POST /v1/models/{owner}/{name}/runs": owner(202, json={"inputs": {}}),
    "POST /s/{token}/v1/runs": holder(202, json={"inputs": {}}),
    f"GET {A}/runs": account(),
    f"GET {A}/runs/{{run_id}}": owner(),
    f"GET {A}/runs/{{run_id}}/events": owner(),
    f"GET {A}/runs/{{run_id}}/outputs/{{name}}": owner(),
    f"GET {A}/runs/{{run_id}}/inputs/{{name}}": owner(),
    f"GET {A}/runs/{{run_id}}/webhook": owner(),
    f"POST {A}/runs/{{run_id}}/cancel": owner(202),
    f"GET {A}/runs/{{run_id}}/receipt": owner(),
    f"GET {A}{V}/export": owner(),
    f"GET {A}{V}/environment": owner(),
    f"GET {A}{V}/environment/diff": owner(),
    f"GET {A}{V}/environment/export": owner(),
    f"GET {A}{V}/environment/sbom": owner(),
    f"GET {A}{V}/environment/provenance": owner(),
    f"GET {A}/links/{{token}}/environment": holder(),
    f"GET {A}/links/{{token}}/environment/export": holder(),
    f"GET {A}/links/{{token}}/environment/sbom": holder(),
    f"GET {A}/links/{{token}}/environment/provenance": holder(),
    f"POST {A}/receipts/verify": Row((200,) * 5, json={}),
    "GET /.well-known/vitrine-keys.json": everybody(),
    f"GET {A}/links/{{link_id}}/opening": owner(),
    f"GET {A}/links": account(),
    f"POST {A}/links": owner(201, json="link"),
    f"POST {A}/links/groups": owner(201, json="group"),
    f"PATCH {A}/links/{{link_id}}": owner(json={"paused": True}),
    f"POST {A}/links/{{link_id}}/unblind": owner(409),
    f"DELETE {A}/links/{{link_id}}": owner(204),
    f"POST {A}/links/{{token}}/codes": holder(202, json={"email": "eva@example.org"}),
    f"POST {A}/links/{{token}}/unlock": holder(403, json={"passcode": "not this one"}),
    f"GET {A}/links/{{token}}": holder(),
    f"GET {A}/links/{{token}}/runs": holder(),
    f"POST {A}/links/{{token}}/runs": holder(202, json={"inputs": {}}),
    f"GET {A}/links/{{token}}/runs/{{run_id}}": holder(),
    f"GET {A}/links/{{token}}/runs/{{run_id}}/events": holder(),
    f"GET {A}/links/{{token}}/runs/{{run_id}}/outputs/{{name}}": holder(),
    f"GET {A}/links/{{token}}/runs/{{run_id}}/inputs/{{name}}": holder(),
    f"POST {A}/links/{{token}}/runs/{{run_id}}/cancel": holder(202),
    f"GET {A}/links/{{token}}/runs/{{run_id}}/receipt": holder(),
    f"GET {A}/links/{{token}}/export": holder(),
    f"POST {A}/trainings": owner(202, other=422, json="training"),
    f"GET {A}/trials": account(),
    f"GET {A}/trials/{{trial_id}}": owner(),
    f"GET {A}/trials/{{trial_id}}/metrics": owner(),
    f"GET {A}/trials/{{trial_id}}/samples": owner(),
    f"GET {A}/trials/{{trial_id}}/checkpoints": owner(),
    f"GET {A}/trials/{{trial_id}}/events": owner(),
    f"GET {A}/trials/{{trial_id}}/log": owner(),
    f"GET {A}/trials/{{trial_id}}/outputs/{{name:path}}": owner(),
    f"POST {A}/trials/{{trial_id}}/cancel": owner(202),
    f"GET {A}{V}/claims": owner(),
    f"POST {A}/claims/checks": owner(202, json="check"),
    f"GET {A}/claims/checks": account(),
    f"GET {A}/claims/checks/{{check_id}}": owner(),
    f"GET {A}/claims/checks/{{check_id}}/events": owner(),
    f"GET {A}/claims/checks/{{check_id}}/receipt": owner(),
    f"POST {A}/claims/checks/{{check_id}}/cancel": owner(202),
    f"GET {A}/links/{{token}}/claims": holder(),
    f"POST {A}/links/{{token}}/claims/checks": holder(202, json={"claim": "speed"}),
    f"GET {A}/links/{{token}}/claims/checks": holder(),
    f"GET {A}/links/{{token}}/claims/checks/{{check_id}}": holder(),
    f"GET {A}/links/{{token}}/claims/checks/{{check_id}}/events": holder(),
    f"GET {A}/links/{{token}}/claims/checks/{{check_id}}/receipt": holder(),
    f"POST {A}/links/{{token}}/claims/checks/{{check_id}}/cancel": holder(202),
    # As with versions: others have none of the bytes.
    f"POST {A}/datasets": owner(200, other=422, json="dataset"),
    f"GET {A}/datasets": account(),
    f"GET {A}/datasets/{{owner}}/{{name}}/{{version}}": owner(),
    "GET /datasets": own_page(),
    "GET /datasets/{owner}/{name}/{version}": page(),
    "POST /claims/checks": form(303, other=404, ref="claiming", claim="speed"),
    "GET /claims/checks/{check_id}": page(),
    "GET /claims/checks/{check_id}/events": page(),
    "GET /claims/checks/{check_id}/receipt": page(),
    "POST /claims/checks/{check_id}/cancel": form(other=404),
    f"GET {A}/notifications": account(),
    f"POST {A}/notifications/read": account(204),
    f"POST {A}/notifications/{{notification_id}}/read": owner(204),
    f"GET {A}/notifications/mail": account(),
    f"PUT {A}/notifications/mail": account(json={"kinds": ["claim.checked"]}),
    f"GET {A}/webhooks": account(),
    f"POST {A}/webhooks": account(422, json={"url": "http://127.0.0.1/"}),
    f"GET {A}/webhooks/{{webhook_id}}": owner(),
    f"DELETE {A}/webhooks/{{webhook_id}}": owner(204),
    f"POST {A}/webhooks/{{webhook_id}}/secret": owner(201),
    f"POST {A}/webhooks/{{webhook_id}}/activation": owner(),
    f"POST {A}/webhooks/{{webhook_id}}/test": owner(202),
    f"GET {A}/webhooks/{{webhook_id}}/deliveries": owner(),
    f"POST {A}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}/replay": owner(202),
    "GET /notifications": own_page(),
    "GET /notifications/{notification_id}": Row((303, 404, 303, 303, 303)),
    "POST /notifications/read": form(),
    "POST /notifications/mail": form(),
    "GET /unsubscribe/{token}": Row((404,) * 5),
    "POST /unsubscribe/{token}": Row((404,) * 5, form={}),
    "GET /settings/webhooks": own_page(),
    "POST /settings/webhooks": form(400, url="http://127.0.0.1/"),
    "GET /settings/webhooks/{hook_id}": page(),
    "POST /settings/webhooks/{hook_id}/secret": form(201, other=404),
    "POST /settings/webhooks/{hook_id}/{wish}": form(other=404),
    f"GET {A}/status": operator(),
    "GET /": everybody(),
    "GET /login": Row((200, 303, 303, 200, 200)),
    "POST /login": Row((401,) * 5, form={"email": "nobody@example.org", "password": "wrong"}),
    "POST /logout": Row((303,) * 5, form={}),
    "GET /signup": everybody(),
    "POST /signup": Row(
        (410,) * 5, form={"invite": "x", "email": "a@b.org", "name": "a", "password": "long enough it is"}
    ),
    "GET /settings": own_page(),
    "POST /settings/tokens": form(201, name="new", expires_days="3"),
    "POST /settings/tokens/{token_id}/revoke": form(other=404),
    "POST /settings/invites": form(403),
    "GET /models": own_page(),
    "GET /models/{owner}/{name}/versions/{version}/diff": page(),
    "GET /models/{owner}/{name}": page(),
    "GET /models/{owner}/{name}/versions/{version}": page(),
    "GET /models/{owner}/{name}/versions/{version}/export": page(),
    "GET /models/{owner}/{name}/versions/{version}/environment": page(),
    "GET /models/{owner}/{name}/versions/{version}/sbom": page(),
    "GET /models/{owner}/{name}/versions/{version}/provenance": page(),
    "GET /verify": everybody(),
    "POST /verify": Row((422,) * 5, form={}),
    "GET /runs/{run_id}/receipt": page(),
    "GET /runs/{run_id}/verify": page(),
    "GET /models/{owner}/{name}/versions/{version}/monitor": page(),
    "GET /builds/{build_id}/events": page(),
    "GET /runs": own_page(),
    "GET /runs/{run_id}": page(),
    "GET /runs/{run_id}/events": page(),
    "GET /runs/{run_id}/outputs/{name}": page(),
    "GET /runs/{run_id}/inputs/{name}": page(),
    "GET /runs/{run_id}/archive": page(),
    "POST /runs/{run_id}/cancel": form(other=404),
    "GET /links": own_page(),
    "POST /links": form(201, other=404, version="reference"),
    "GET /links/{link_id}": page(),
    "POST /links/{link_id}": form(other=404, label="another"),
    "POST /links/{link_id}/unblind": form(409, other=404),
    "POST /links/{link_id}/revoke": form(other=404),
    "GET /trials": own_page(),
    "GET /trials/{trial_id}": page(),
    "GET /trials/{trial_id}/events": page(),
    "POST /trials/{trial_id}/cancel": form(other=404),
    "GET /s/{token}": holder(),
    "POST /s/{token}/runs": holder(303, form={}),
    "POST /s/{token}/unlock": holder(403, form={"passcode": "not this one"}),
    "GET /s/{token}/watch": holder(),
    "GET /e/{token}": holder(),
    "GET /e/{token}/{visitor}": holder(),
    "POST /e/{token}/{visitor}/runs": holder(303, form={}),
    "GET /e/{token}/{visitor}/runs/{run_id}": holder(),
    "GET /e/{token}/{visitor}/runs/{run_id}/events": holder(),
    "GET /e/{token}/{visitor}/runs/{run_id}/outputs/{name}": holder(),
    "GET /e/{token}/{visitor}/runs/{run_id}/inputs/{name}": holder(),
    "POST /e/{token}/{visitor}/runs/{run_id}/cancel": holder(303, form={}),
    "GET /e/{token}/{visitor}/examples/{name}/{index}": holder(),
    "GET /e/{token}/{visitor}/watch": holder(),
    "GET /s/{token}/runs/{run_id}": holder(),
    "GET /s/{token}/runs/{run_id}/receipt": holder(),
    "GET /s/{token}/runs/{run_id}/verify": holder(),
    "GET /e/{token}/{visitor}/runs/{run_id}/receipt": holder(),
    "GET /s/{token}/export": holder(),
    "GET /s/{token}/runs/{run_id}/events": holder(),
    "GET /s/{token}/runs/{run_id}/outputs/{name}": holder(),
    "GET /s/{token}/runs/{run_id}/inputs/{name}": holder(),
    "POST /s/{token}/runs/{run_id}/cancel": holder(303, form={}),
    "GET /s/{token}/examples/{name}/{index}": holder(),
    "GET /s/{token}/runs/{run_id}/archive": holder(),
    "GET /e/{token}/{visitor}/runs/{run_id}/archive": holder(),
    # Without two runs chosen a holder is told to tick two; whose runs they may be: tests of the showcase.
    "GET /s/{token}/compare": holder(422),
    "GET /e/{token}/{visitor}/compare": holder(422),
    "GET /s/{token}/qr.svg": holder(),
    "GET /e/{token}/{visitor}/qr.svg": holder(),
}
for place in ("/s/{token}", "/e/{token}/{visitor}"):
    TABLE |= {
        f"POST {place}/claims/checks": holder(303, form={"claim": "speed"}),
        f"GET {place}/claims/checks/{{check_id}}": holder(),
        f"GET {place}/claims/checks/{{check_id}}/events": holder(),
        f"GET {place}/claims/checks/{{check_id}}/receipt": holder(),
        f"POST {place}/claims/checks/{{check_id}}/cancel": holder(303, form={}),
    }
VENUE = f"{A}/venues/{{venue_id}}"
TABLE |= {
    f"POST {A}/venues": Row((401, 403, 403, 401, 401), json={"name": "X", "deadline": "2099-01-01"}),
    f"GET {A}/venues": account(),
    f"GET {VENUE}": owner(),
    f"PATCH {VENUE}": owner(json={"name": "another"}),
    f"DELETE {VENUE}": owner(204),
    f"POST {VENUE}/close": owner(),
    f"POST {VENUE}/reviewers": owner(201, json={"lines": "somebody@far.example"}),
    f"DELETE {VENUE}/reviewers/{{reviewer_id}}": owner(204),
    f"POST {VENUE}/reviewers/{{reviewer_id}}/renew": owner(),
    f"POST {VENUE}/reminders": owner(202),
    f"POST {VENUE}/assignments": owner(404, json={"submission_id": "nothing", "reviewer_id": "nobody"}),
    f"POST {VENUE}/assignments/balance": owner(json={"per_submission": 1}),
    f"DELETE {VENUE}/assignments/{{review_id}}": owner(204),
    f"POST {VENUE}/checks": owner(202),
    f"GET {VENUE}/matrix": owner(),
    f"GET {VENUE}/export": owner(),
    f"PUT {VENUE}/submissions/{{submission_id}}/decision": owner(json={"decision": "Accept"}),
    f"PUT {VENUE}/reviews/{{review_id}}/release": owner(409),
    f"POST {VENUE}/publish": owner(409, json={}),
    f"POST {VENUE}/unblind": owner(409, json={}),
    f"GET {VENUE}/submissions/{{submission_id}}/openings": owner(409),
    # Whoever has the address of a venue may submit what is theirs.
    f"GET {A}/calls/{{venue_token}}": account(),
    f"POST {A}/calls/{{venue_token}}/submissions": owner(201, json="submission"),
    f"GET {A}/submissions": account(),
    f"DELETE {A}/submissions/{{submission_id}}": owner(204),
    "GET /venues": own_page(),
    "POST /venues": form(403, name="X", deadline="2099-01-01", time_zone="UTC"),
    "GET /venues/{venue_id}": page(),
    "GET /venues/{venue_id}/matrix.csv": page(),
    "POST /venues/{venue_id}/delete": form(other=404),
    "POST /venues/{venue_id}/{wish}": form(other=404),
    "GET /venues/{venue_id}/submissions/{submission_id}": page(),
    "POST /venues/{venue_id}/submissions/{submission_id}/{wish}": form(other=404),
    "GET /v/{venue_token}": own_page(),
    "POST /v/{venue_token}": form(other=404, version="reference", paper_id="P2", title="Another"),
    # Reviewers have no account: the address is all that it takes.
    "GET /r/{reviewer_token}": everybody(),
    "POST /r/{reviewer_token}/reviews/{review_id}": Row((303,) * 5, form={"overall": "accept"}),
}
WHO = ("anonymous", "other", "owner", "holder", "revoked")


@pytest.fixture(scope="module")
async def world(api: Instance) -> dict[str, Any]:
    """What the owner has: a version, runs, links, a training."""
    owner_, other = await api.account(), await api.account()
    version = await version_with(api, owner_, {"six": "1.17.0"}, name="guarded")
    owner_run = await _finished_run(api, owner_, version)
    link = await owner_.share(version["reference"], embed=["*"])
    revoked = await owner_.share(version["reference"], embed=["*"])
    link_run, visitor = await _finished_link_run(api, link["token"])
    revoked_run, revoked_visitor = await _finished_link_run(api, revoked["token"])
    assert (await owner_.client.delete(f"/api/v1/links/{revoked['id']}")).status_code == 204
    trial = await _finished_trial(api, owner_)
    claims = await _claims(api, owner_, {"holder": visitor, "revoked": revoked_visitor})
    return {
        "claims": claims,
        "api": api,
        "accounts": {"owner": owner_, "other": other},
        "version": version,
        "links": {
            "holder": (link["token"], visitor, link_run),
            "revoked": (revoked["token"], revoked_visitor, revoked_run),
        },
        "params": {
            "owner": owner_.name,
            "version": "1",
            "version_id": version["id"],
            "build_id": version["build_id"],
            "run_id": owner_run,
            "trial_id": trial,
            "check_id": claims["check"],
            "index": "0",
            "ticket": "of-nobody",
            "session_id": "of-nobody",
            "user": "nobody-here",
            "number": "7",
            "deletion_id": "of-nobody",
        },
        "ids": [
            version["id"],
            owner_run,
            link["id"],
            revoked["id"],
            link_run,
            revoked_run,
            trial,
            claims["version"]["id"],
            claims["check"],
            *(check for _, check in claims["links"].values()),
            owner_.email,
        ],
    }


async def _claims(api: Instance, account_: Account, visitors: dict[str, str]) -> dict[str, Any]:
    """A version that claims something, a dataset, and a check by its owner and by each holder of a link."""
    await push_dataset(account_, "guarded")
    claim = {
        "name": "speed",
        "statement": "Fast.",
        "command": "python echo.py",
        "metric": "ms",
        "expected": 3,
    }
    version = await api.ready(account_, name="claiming", spec={**manifest()["spec"], "claims": [claim]})
    body = {"ref": version["reference"], "claim": "speed"}
    asked = await account_.client.post("/api/v1/claims/checks", json=body)
    await finish_check(api, asked.json()["id"], (3.0,))
    links = {}
    for who, visitor in visitors.items():
        link = await account_.share(version["reference"], embed=["*"])
        by_link = await api.client(headers={"X-Vitrine-Visitor": visitor}).post(
            f"/api/v1/links/{link['token']}/claims/checks", json={"claim": "speed"}
        )
        assert by_link.status_code == 202, by_link.text
        await finish_check(api, by_link.json()["id"], (3.0,))
        links[who] = (link["token"], by_link.json()["id"])
        if who == "revoked":
            await account_.client.delete(f"/api/v1/links/{link['id']}")
    return {"version": version, "check": asked.json()["id"], "links": links}


async def _finished_run(api: Instance, account_: Account, version: dict[str, Any]) -> str:
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    started = await account_.client.post(path, files={"input.image": ("a.png", PNG, "image/png")})
    assert started.status_code == 202, started.text
    await api.finish(started.json()["id"], [_picture()])
    return str(started.json()["id"])


async def _finished_link_run(api: Instance, token: str) -> tuple[str, str]:
    files = {"input.image": ("a.png", PNG, "image/png")}
    started = await api.client().post(f"/api/v1/links/{token}/runs", files=files)
    assert started.status_code == 202, started.text
    await api.finish(started.json()["id"], [_picture()])
    return str(started.json()["id"]), str(started.json()["visitor"])


def _picture() -> Output:
    return Output(
        name="image",
        type="image",
        digest=sha256_bytes(PNG),
        size=len(PNG),
        media_type="image/png",
        filename="a.png",
    )


async def _finished_trial(api: Instance, account_: Account) -> str:
    answer = await account_.client.post("/api/v1/trainings", json=_training(account_))
    assert answer.status_code == 202, answer.text
    made = answer.json()
    trial = Trial(
        id=made["id"],
        owner_id=account_.id,
        owner=account_.name,
        model=made["model"],
        source_digest=made["source_digest"],
        state=TrialState.SUCCEEDED,
        outputs=[_picture()],
        log_digest=sha256_bytes(PNG),
        finished_at=utcnow(),
    )
    await api.database_as("trainer").collection(Trial).insert(trial)
    return str(made["id"])


def _training(account_: Account) -> dict[str, Any]:
    return {"manifest": manifest({**manifest()["spec"], "train": {"command": "python echo.py"}}, FILES)}


def routes_of(routes: list[BaseRoute]) -> Iterator[str]:
    """Every `METHOD path` that the application answers."""
    for route in routes:
        if isinstance(route, Mount):
            yield f"GET {route.path}/{{path:path}}"
        elif isinstance(route, APIRoute | Route):
            yield from (f"{method} {route.path}" for method in (route.methods or set()) - {"HEAD"})
        else:
            yield from routes_of(list(route.original_router.routes))  # type: ignore[attr-defined]


def test_the_table_names_every_route_and_no_other() -> None:
    assert sorted(routes_of(routed().routes)) == sorted(TABLE)


@pytest.mark.parametrize("target", TABLE)
async def test_route(world: dict[str, Any], target: str) -> None:
    got = []
    for who in ("anonymous", "other", "holder", "revoked", "owner"):
        answer = await _ask(world, target, who)
        got.append((who, answer.status_code))
        if who != "owner":
            _assert_nothing_of_the_owner(world, target, who, answer)
    expected = dict(zip(WHO, TABLE[target].statuses, strict=True))
    assert dict(got) == expected


def _assert_nothing_of_the_owner(
    world: dict[str, Any], target: str, who: str, answer: httpx.Response
) -> None:
    asked = str(answer.request.url)
    own = {world["links"][who][2], world["claims"]["links"][who][1]} if who in world["links"] else set()
    for secret in world["ids"]:
        if secret not in asked and secret not in own:
            assert secret not in answer.text, f"{who} reads {secret} at {target}"


async def _ask(world: dict[str, Any], target: str, who: str) -> httpx.Response:
    method, template = target.split(" ", 1)
    row = TABLE[target]
    path = await _path(world, template, who, row)
    is_page = not template.startswith(("/api/", "/v1/", "/healthz", "/static", "/.well-known"))
    client = await _page_client(world, who) if is_page else await _api_client(world, who)
    body: dict[str, Any] = {}
    if row.form is not None:
        # In a frame there are no cookies: what a form carries is bound to the address.
        bound = form_token(path.split("/")[3]) if path.startswith("/e/") else _form_token(client)
        body["data"] = {"csrf_token": bound, **_filled(world, row.form)}
    elif row.json is not None:
        body["json"] = _body(world, row.json)
    elif method == "PUT":
        body["content"] = b"some bytes"
    if template.endswith("/watch"):
        return await _opened(client, path)
    return await client.request(method, path, **body)


async def _opened(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Ask for a stream that has no end of its own, and leave it."""
    async with client.stream("GET", path) as stream:
        return httpx.Response(stream.status_code, request=stream.request)


async def _path(world: dict[str, Any], template: str, who: str, row: Row) -> str:
    params = dict(world["params"])
    params["name"] = (
        "image" if "outputs" in template or "inputs" in template or "examples" in template else "guarded"
    )
    params["name:path"] = params["name"]
    params["path:path"] = "favicon.svg"
    if "{token}" in template:
        token, _, run_id = world["links"].get(
            who, (secrets.token_urlsafe(16), "", world["links"]["holder"][2])
        )
        visitor = world["links"][who][1] if who in world["links"] else secrets.token_urlsafe(16)
        params |= {"token": token, "run_id": run_id, "visitor": visitor}
    if "{token}" in template and "/claims" in template:
        known = world["claims"]["links"]
        token, check_id = known.get(who, (secrets.token_urlsafe(16), known["holder"][1]))
        params |= {"token": token, "check_id": check_id}
    params |= await _spares(world, template)
    path = template
    for name, value in params.items():
        path = path.replace("{" + name + "}", value)
    return (
        f"{path}?to={world['version']['reference']}"
        if template.endswith((f"{V}/diff", "/environment/diff"))
        else path
    )


async def _spares(world: dict[str, Any], template: str) -> dict[str, str]:
    """Things of the owner's that a route destroys: new ones for every request."""
    client = world["accounts"]["owner"].client
    if "{token_id}" in template:
        return {"token_id": (await client.post("/api/v1/tokens", json={"label": "spare"})).json()["id"]}
    if "{link_id}" in template:
        return {"link_id": (await world["accounts"]["owner"].share(world["version"]["reference"]))["id"]}
    if any(name in template for name in ("{venue_id}", "venue_token", "reviewer_token", "{submission_id}")):
        return await _venue(world, template)
    if "{invite_id}" in template:
        answer = await world["api"].operator.client.post("/api/v1/invites", json={})
        return {"invite_id": answer.json()["id"]}
    if "webhook" in template or "{notification_id}" in template:
        return await (_hooked(world) if "{run_id}" in template else _news(world))
    return {}


async def _venue(world: dict[str, Any], template: str) -> dict[str, str]:
    """A venue that the owner chairs, with a submission of theirs and a reviewer: one for each route."""
    known: dict[str, dict[str, str]] = world.setdefault("venues", {})
    if template not in known:
        known[template] = await _new_venue(world)
    return {**known[template], "wish": "checks"}


async def _new_venue(world: dict[str, Any]) -> dict[str, str]:
    desk = world["api"].services.venues
    user = await world["api"].services.repository.accounts.users.get(world["accounts"]["owner"].id)
    chair = Member(user.model_copy(update={"roles": ["chair"]}), frozenset(ALL_SCOPES))
    venue = await desk.hosting.create(chair, VenueWish(name="Guarded", deadline="2099-01-01"))
    reference = parse_reference(world["version"]["reference"])
    submission = (await desk.submissions.submit(chair, venue, reference, Entry("P1", "Title"))).submission
    (reviewer,) = await desk.roster.add(venue, parse_roster("Eva <eva@far.example>"))
    review = await desk.assignments.assign(venue, submission.id, reviewer.id)
    return {
        "venue_id": venue.id,
        "submission_id": submission.id,
        "reviewer_id": reviewer.id,
        "review_id": review.id,
        "venue_token": submit_token(venue.id, venue.key),
        "reviewer_token": reviewer_token(venue, reviewer.id, reviewer.revision),
    }


async def _hooked(world: dict[str, Any]) -> dict[str, str]:
    """A run of the owner's that an address is told of."""
    hook = RunHook(
        id=new_id("run"),
        user_id=world["accounts"]["owner"].id,
        version_id="version",
        url="http://127.0.0.1:1/",
        events=["finished"],
        secret=new_secret(),
        ends_at=utcnow(),
    )
    await world["api"].platform.database.collection(RunHook).insert(hook)
    return {"run_id": hook.id}


async def _news(world: dict[str, Any]) -> dict[str, str]:
    """A webhook of the owner's, a message that it took, and a notification."""
    database = world["api"].platform.database
    user = world["accounts"]["owner"].id
    hook = Webhook(id=new_id("hook"), user_id=user, url="http://127.0.0.1:1/", secret=new_secret())
    await database.collection(Webhook).insert(hook)
    delivery = WebhookDelivery(
        id=new_id("delivery"),
        user_id=user,
        webhook_id=hook.id,
        kind="webhook.test",
        body="{}",
        state=DeliveryState.DELIVERED,
    )
    await database.collection(WebhookDelivery).insert(delivery)
    news = Notification(id=new_id("news"), user_id=user, kind="version.ready", title="It runs")
    await database.collection(Notification).insert(news)
    ids = {"webhook_id": hook.id, "hook_id": hook.id, "delivery_id": delivery.id, "wish": "activation"}
    return {**ids, "notification_id": news.id}


def _filled(world: dict[str, Any], fields: dict[str, str]) -> dict[str, str]:
    reference = world["version"]["reference"]
    known = {"reference": reference, "claiming": world["claims"]["version"]["reference"]}
    return {name: known.get(value, value) for name, value in fields.items()}


def _body(world: dict[str, Any], wanted: Any) -> Any:
    match wanted:
        case "manifest":
            return {"manifest": manifest(), "model": "guarded"}
        case "training":
            return _training(world["accounts"]["owner"])
        case "check" | "dataset":
            return _claims_body(world, wanted)
        case "link" | "submission":
            paper = {"paper_id": "P2", "title": "Another"} if wanted == "submission" else {}
            return {"ref": world["version"]["reference"], **paper}
        case "group":
            return {"ref": world["version"]["reference"], "recipients": ["Reviewer 1", "Reviewer 2"]}
    return wanted


def _claims_body(world: dict[str, Any], wanted: str) -> dict[str, Any]:
    if wanted == "check":
        return {"ref": world["claims"]["version"]["reference"], "claim": "speed"}
    return {"name": "guarded", "files": manifest({}, {SECRET: b"a,b\n1,2\n"})["files"]}


async def _api_client(world: dict[str, Any], who: str) -> httpx.AsyncClient:
    api_: Instance = world["api"]
    if who in world["accounts"]:
        account_ = world["accounts"][who]
        # A token of its own, because one of the routes revokes what it is asked with.
        made = await account_.client.post("/api/v1/tokens", json={"label": "for one request"})
        return api_.client(headers={"Authorization": f"Bearer {made.json()['token']}"})
    visitor = world["links"].get(who, (None, None, None))[1]
    return api_.client(headers={"X-Vitrine-Visitor": visitor} if visitor else {})


async def _page_client(world: dict[str, Any], who: str) -> httpx.AsyncClient:
    api_: Instance = world["api"]
    cookies = {GUEST_COOKIE: secrets.token_urlsafe(16)}
    if who in world["accounts"]:
        user = await api_.services.repository.accounts.user(world["accounts"][who].id)
        assert user is not None
        cookies[SESSION_COOKIE] = await api_.services.sessions.open(user)
    elif who in world["links"]:
        cookies[VISITOR_COOKIE] = world["links"][who][1]
    return api_.client(cookies=cookies)


def _form_token(client: httpx.AsyncClient) -> str:
    return form_token(client.cookies.get(SESSION_COOKIE) or client.cookies[GUEST_COOKIE])


async def test_operators_may_invite_and_look_at_the_status(api: Instance) -> None:
    client = api.operator.client
    invite = await client.post("/api/v1/invites", json={})
    assert invite.status_code == 201
    assert invite.json()["code"] not in (await client.get("/api/v1/invites")).text
    assert (await client.delete(f"/api/v1/invites/{invite.json()['id']}")).status_code == 204
    status = (await client.get("/api/v1/status")).json()
    assert status["services"]["api"]["ok"] is True
    assert status["services"]["builder"]["ok"] is False
    assert status["servers"]["mongo"]["ok"] is True


async def test_what_is_not_yours_and_what_does_not_exist_look_alike(world: dict[str, Any]) -> None:
    other = world["accounts"]["other"].client
    for path in ("runs", "trials", "versions"):
        existing = world["params"][{"runs": "run_id", "trials": "trial_id", "versions": "version_id"}[path]]
        made_up = existing[:-4] + "0000"
        answers = [(await other.get(f"/api/v1/{path}/{name}")).json() for name in (existing, made_up)]
        for answer, name in zip(answers, (existing, made_up), strict=True):
            answer["detail"] = answer["detail"].replace(name, "ID")
            answer.pop("request_id")
        assert json.dumps(answers[0]) == json.dumps(answers[1])


async def test_a_visitor_sees_no_other_visitors_runs(world: dict[str, Any]) -> None:
    token, _, run_id = world["links"]["holder"]
    stranger = world["api"].client(headers={"X-Vitrine-Visitor": secrets.token_urlsafe(16)})
    base = f"/api/v1/links/{token}/runs"
    assert (await stranger.get(base)).json()["items"] == []
    for path in (run_id, f"{run_id}/events", f"{run_id}/outputs/image", f"{run_id}/inputs/image"):
        assert (await stranger.get(f"{base}/{path}")).status_code == 404
    assert (await stranger.post(f"{base}/{run_id}/cancel")).status_code == 404
    assert (await world["api"].client().get(f"/s/{token}/runs/{run_id}")).status_code == 404


async def test_a_link_opens_no_run_of_another_link_or_of_the_owner(world: dict[str, Any]) -> None:
    token, visitor, _ = world["links"]["holder"]
    client = world["api"].client(headers={"X-Vitrine-Visitor": visitor})
    for run_id in (world["params"]["run_id"], world["links"]["revoked"][2]):
        assert (await client.get(f"/api/v1/links/{token}/runs/{run_id}")).status_code == 404


async def test_authors_learn_how_a_visitors_run_ended_and_nothing_else(world: dict[str, Any]) -> None:
    owner_, run_id = world["accounts"]["owner"].client, world["links"]["holder"][2]
    told = (await owner_.get(f"/api/v1/runs/{run_id}")).json()
    assert told["state"] == "succeeded"
    assert (told["inputs"], told["outputs"], told["message"], told["log_tail"]) == ({}, [], "", "")
    for path in ("outputs/image", "inputs/image"):
        assert (await owner_.get(f"/api/v1/runs/{run_id}/{path}")).status_code == 403
    assert (await owner_.post(f"/api/v1/runs/{run_id}/cancel")).status_code == 403
    (event, state), *more = events_of((await owner_.get(f"/api/v1/runs/{run_id}/events")).text)
    assert (event, state["inputs"], more) == ("end", {}, [])


async def test_scopes_narrow_what_a_token_may_do(world: dict[str, Any]) -> None:
    owner_ = world["accounts"]["owner"].client
    made = await owner_.post("/api/v1/tokens", json={"label": "reader", "scopes": ["read"]})
    reader = world["api"].client(headers={"Authorization": f"Bearer {made.json()['token']}"})
    assert (await reader.get("/api/v1/models")).status_code == 200
    run = await reader.post(f"/api/v1/versions/{world['params']['owner']}/guarded/1/runs", json={})
    share = await reader.post("/api/v1/links", json={"ref": world["version"]["reference"]})
    more = await reader.post("/api/v1/tokens", json={"label": "more", "scopes": ["read", "run"]})
    assert [run.status_code, share.status_code, more.status_code] == [403, 403, 403]
    assert (await reader.post("/api/v1/logout")).status_code == 204
    assert (await reader.get("/api/v1/models")).status_code == 401
