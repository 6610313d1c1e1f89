"""Every route of the application, with what five kinds of callers get from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
