"""Every route by (anonymous, other user, owner, link holder, revoked link holder).

A route that stands in the application and not in the table fails the test, and the other way round.
For routes with a link's token in their path, the first three hold no token that exists.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from api_instance import Instance, api, events_of, manifest
from authorization_rows import TABLE, WHO, Row, V
from authorization_world import made_world, training
from claims_on_api import SECRET
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
from vitrine_common.documents import Notification, RunHook, Webhook, WebhookDelivery
from vitrine_common.ids import new_id
from vitrine_common.states import DeliveryState

__all__ = ["api"]


@pytest.fixture(scope="module")
async def world(api: Instance) -> dict[str, Any]:
    """What the owner has: a version, runs, links, a training."""
    return await made_world(api)


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
            return training(world["accounts"]["owner"])
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
