"""The api answers as its OpenAPI document says, to anybody, whatever they send: never with a failure.

Requests are made from the document itself (schemathesis), for nobody, an account, an operator and the
holder of a link; path parameters are those of things that exist, or made up. The seed is fixed;
`VITRINE_INTERFACE_EXAMPLES` asks for more requests of each kind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_instance import PNG, Account, Instance, api
from claims_on_api import finish_check
from one_of_everything import parameters_of, picture
from vitrine_api.app import routed

__all__ = ["api"]

EXAMPLES = int(os.environ.get("VITRINE_INTERFACE_EXAMPLES", "2"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
ORDER = ("get", "post", "patch", "put", "delete")
OPEN = ("/healthz", "/.well-known/vitrine-keys.json", "/v2", "/v2/health/live")
"""Ends of the addresses that refuse nobody anything."""
LAST = ("/api/v1/logout",)
"""Ends what the next request would need."""
VISITOR = "visitor-of-the-interface"


@dataclass
class Asker:
    """Who asks: with which headers, and what their path parameters are called."""

    headers: Mapping[str, str]
    known: Mapping[str, Any]
    problems: dict[str, str] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    """Operations that gave what was asked for."""


def operations() -> list[APIOperation[Any, Any, Any, Any]]:
    """The document's operations, those that end things last."""
    schema = schemathesis.openapi.from_dict(routed().openapi())
    results = list(schema.get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(found) == len(results), "the document itself is not valid"
    return sorted(found, key=lambda one: (one.path in LAST, ORDER.index(one.method.lower())))


@pytest.fixture(scope="module")
async def things(api: Instance) -> AsyncIterator[dict[str, Any]]:
    """One of everything that a path parameter names, and who may see it; calls that nobody takes end soon."""
    with pytest.MonkeyPatch.context() as patched:
        for calls in (api.services.programs, api.services.inference):
            patched.setattr(calls, "_patience", 0.05)
        yield await _things(api)


async def _things(api: Instance) -> dict[str, Any]:
    owner = await api.account()
    path = await parameters_of(api, owner)
    await owner.upload({"a.png": PNG})
    reference = f"{path['owner']}/{path['name']}@{path['version']}"
    link = await owner.share(reference)
    holder = api.client(headers={"X-Vitrine-Visitor": VISITOR})
    files = {"input.image": ("a.png", PNG, "image/png")}
    by_link = await holder.post(f"/api/v1/links/{link['token']}/runs", files=files)
    runs = f"/api/v1/versions/{reference.replace('@', '/')}/runs"
    mine = await owner.client.post(runs, files=files)
    for run in (by_link, mine):
        await api.finish(run.json()["id"], [picture()], log_tail="line\n")
        await api.services.receipts.issue_run(run.json()["id"])
    checked = await holder.post(f"/api/v1/links/{link['token']}/claims/checks", json={"claim": "speed"})
    await finish_check(api, checked.json()["id"], (3.0,))
    await api.services.attesting.checked(checked.json()["id"])
    return {
        "owner": owner,
        "path": path,
        "mine": {**path, "run_id": mine.json()["id"]},
        "by_link": {
            **path,
            "model": "model",
            "token": link["token"],
            "run_id": by_link.json()["id"],
            "check_id": checked.json()["id"],
        },
    }


async def test_nobody_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    asker = Asker({}, things["mine"])
    await asyncio.to_thread(examine, api, asker, operations(), max(1, EXAMPLES // 2))
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {401, 404} <= asker.seen


async def test_an_account_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    owner: Account = things["owner"]
    asker = Asker({"Authorization": f"Bearer {owner.token}"}, things["mine"])
    await asyncio.to_thread(examine, api, asker, operations(), EXAMPLES)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen
    assert unanswered(asker, operations()) == {
        "GET /api/v1/deletions/{deletion_id}",
        "GET /api/v1/venues/{venue_id}/submissions/{submission_id}/openings",
        "GET /api/v1/runs/{run_id}/webhook",
    }, "nothing was deleted or un-blinded yet, and no run tells anybody"


async def test_an_operator_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    operator = await api.account()
    await api.services.repository.accounts.users.update({"_id": operator.id}, {"operator": True})
    headers = {"Authorization": f"Bearer {operator.token}"}
    asker = Asker(headers, things["path"] | {"user": operator.name})
    await asyncio.to_thread(examine, api, asker, operations(), EXAMPLES)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen


async def test_holders_of_a_link_get_only_what_the_document_says(
    api: Instance, things: dict[str, Any]
) -> None:
    asker = Asker({"X-Vitrine-Visitor": VISITOR}, things["by_link"])
    by_link = [one for one in operations() if "{token}" in one.path]
    assert len(by_link) > 15
    await asyncio.to_thread(examine, api, asker, by_link, EXAMPLES + 1)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen
    assert unanswered(asker, by_link) == set()


async def test_a_line_break_in_an_address_is_an_address_like_others(api: Instance) -> None:
    assert (await api.client().get("/api/v1/links/a%0Ab")).status_code == 404
    assert (await api.client().get("/s/a%0Ab")).status_code == 404


async def test_the_document_tells_nothing_that_nobody_is_sent() -> None:
    document = routed().openapi()
    assert "HTTPValidationError" not in str(document)
    for path, found in document["paths"].items():
        for operation in found.values():
            refused = [status for status in operation["responses"] if status.startswith(("4", "5"))]
            assert refused or path.endswith(OPEN)


def unanswered(asker: Asker, tested: Iterable[APIOperation[Any, Any, Any, Any]]) -> set[str]:
    """Return what can be read and was never given, of what is there for whoever asks."""
    readable = {f"GET {one.path}" for one in tested if one.method.lower() == "get"}
    apart = ("/operator/", "/users/", "/status") if "Authorization" in asker.headers else ()
    links = "{token}" if "Authorization" in asker.headers else "nothing"
    return {
        one
        for one in readable - asker.answered
        if not any(part in one for part in apart) and links not in one
    }


def examine(
    api: Instance, asker: Asker, tested: Iterable[APIOperation[Any, Any, Any, Any]], examples: int
) -> None:
    """Send made-up requests to each operation and note every answer that the document does not have."""
    with requests.Session() as session:
        for operation in tested:
            if operation.method.lower() == "get":
                plain = operation.Case(
                    path_parameters=_known(asker, operation), query=_query(asker, operation)
                )
                _ask(api, asker, operation, session, plain)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _examine(api, asker, operation, session, mode=mode, examples=examples)


def _known(asker: Asker, operation: APIOperation[Any, Any, Any, Any]) -> dict[str, Any]:
    """Return what path parameters are called, `0` where nothing is; no input is called as the model is."""
    names = {one.name for one in operation.path_parameters}
    known = {name: value for name, value in asker.known.items() if name in names}
    is_file = operation.path.endswith(("/inputs/{name}", "/outputs/{name}"))
    made_up = dict.fromkeys(names - set(known), "0")
    return made_up | known | ({"name": "image"} if is_file else {})


def _query(asker: Asker, operation: APIOperation[Any, Any, Any, Any]) -> dict[str, Any]:
    needed = {one.name for one in operation.query if one.is_required}
    reference = "{owner}/{name}@{version}".format(**asker.known)
    return {"to": reference} if "to" in needed else {}


def _ask(
    api: Instance,
    asker: Asker,
    operation: APIOperation[Any, Any, Any, Any],
    session: requests.Session,
    case: schemathesis.Case[Any],
) -> None:
    """Send a request and note an answer that the document does not have."""
    headers = {**asker.headers, "X-Request-Id": "interface-test"}
    response = case.call(base_url=api.url, session=session, headers=headers, timeout=20)
    asker.seen.add(response.status_code)
    if response.status_code < 300:
        asker.answered.add(f"{operation.method.upper()} {operation.path}")
    # There is no runner here, so that calls of models are told, as the document says, to come again.
    is_told = response.status_code == 503 and operation.path.endswith("/infer")
    try:
        case.validate_response(response, checks=CHECKS[1:] if is_told else CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            key = f"{operation.method} {operation.path} {type(failure).__name__} {response.status_code}"
            asker.problems.setdefault(key, f"{key}: {str(failure)[:400]}\n  {case.as_curl_command()[:300]}")


def _examine(
    api: Instance,
    asker: Asker,
    operation: APIOperation[Any, Any, Any, Any],
    session: requests.Session,
    *,
    mode: GenerationMode,
    examples: int,
) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.integers(0, 3))
    def ask(case: schemathesis.Case[Any], real: int) -> None:
        if real:
            for name, value in _known(asker, operation).items():
                if name in asker.known and name in (case.path_parameters or {}):
                    case.path_parameters[name] = value
        _ask(api, asker, operation, session, case)

    with suppress(Unsatisfiable):  # without parameters and a body nothing can be wrong
        ask()
