"""The api answers as its OpenAPI document says, to anybody, whatever they send: never with a failure.

Requests are made from the document itself (schemathesis), for nobody, an account, an operator and the
holder of a link; path parameters are those of things that exist, or made up. The seed is fixed;
`VITRINE_INTERFACE_EXAMPLES` asks for more requests of each kind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
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
from vitrine_api.app import routed
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output

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


def operations() -> list[APIOperation[Any, Any, Any, Any]]:
    """The document's operations, those that end things last."""
    schema = schemathesis.openapi.from_dict(routed().openapi())
    results = list(schema.get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(found) == len(results), "the document itself is not valid"
    return sorted(found, key=lambda one: (one.path in LAST, ORDER.index(one.method.lower())))


@pytest.fixture(scope="module")
async def things(api: Instance) -> dict[str, Any]:
    """One of everything that a path parameter names."""
    owner = await api.account()
    version = await api.ready(owner)
    link = await owner.share(version["reference"])
    await owner.upload({"a.png": PNG})
    holder = api.client(headers={"X-Vitrine-Visitor": VISITOR})
    by_link = await holder.post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {}})
    mine = await owner.client.post(
        f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs", json={"inputs": {}}
    )
    output = Output(
        name="image", type="image", digest=sha256_bytes(PNG), size=len(PNG), media_type="image/png"
    )
    for run in (by_link, mine):
        await api.finish(run.json()["id"], [output], log_tail="line\n")
    owner_name, name, number = version["reference"].replace("@", "/").split("/")
    return {
        "owner": owner,
        "token": link["token"],
        "by_link": by_link.json()["id"],
        "mine": mine.json()["id"],
        "path": {"owner": owner_name, "name": name, "version": number, "version_id": version["id"]},
    }


async def test_nobody_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    asker = Asker({}, _member_parameters(things))
    await asyncio.to_thread(examine, api, asker, operations(), max(1, EXAMPLES // 2))
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {401, 404} <= asker.seen


async def test_an_account_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    owner: Account = things["owner"]
    asker = Asker({"Authorization": f"Bearer {owner.token}"}, _member_parameters(things))
    await asyncio.to_thread(examine, api, asker, operations(), EXAMPLES)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen


async def test_an_operator_gets_only_what_the_document_says(api: Instance, things: dict[str, Any]) -> None:
    operator = await api.account()
    await api.services.repository.accounts.users.update({"_id": operator.id}, {"operator": True})
    headers = {"Authorization": f"Bearer {operator.token}"}
    asker = Asker(headers, _member_parameters(things) | {"user": operator.name})
    await asyncio.to_thread(examine, api, asker, operations(), EXAMPLES)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen


async def test_holders_of_a_link_get_only_what_the_document_says(
    api: Instance, things: dict[str, Any]
) -> None:
    known = things["path"] | {"token": things["token"], "run_id": things["by_link"], "name": "image"}
    asker = Asker({"X-Vitrine-Visitor": VISITOR}, known)
    by_link = [one for one in operations() if "{token}" in one.path]
    assert len(by_link) > 15
    await asyncio.to_thread(examine, api, asker, by_link, EXAMPLES + 1)
    assert not asker.problems, "\n".join(asker.problems.values())
    assert {200, 404, 422} <= asker.seen


async def test_a_line_break_in_an_address_is_an_address_like_others(api: Instance) -> None:
    assert (await api.client().get("/api/v1/links/a%0Ab")).status_code == 404
    assert (await api.client().get("/s/a%0Ab")).status_code == 404


async def test_the_document_tells_nothing_that_nobody_is_sent() -> None:
    document = routed().openapi()
    assert "HTTPValidationError" not in str(document)
    for path, found in document["paths"].items():
        for operation in found.values():
            refused = [status for status in operation["responses"] if status.startswith(("4", "5"))]
            assert refused or path in {"/healthz", "/.well-known/vitrine-keys.json"}


def _member_parameters(things: dict[str, Any]) -> dict[str, Any]:
    return {**things["path"], "run_id": things["mine"]}


def examine(
    api: Instance, asker: Asker, tested: Iterable[APIOperation[Any, Any, Any, Any]], examples: int
) -> None:
    """Send made-up requests to each operation and note every answer that the document does not have."""
    with requests.Session() as session:
        for operation in tested:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _examine(api, asker, operation, session, mode=mode, examples=examples)


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
            for name in case.path_parameters or {}:
                if name in asker.known:
                    case.path_parameters[name] = asker.known[name]
        headers = {**asker.headers, "X-Request-Id": "interface-test"}
        response = case.call(base_url=api.url, session=session, headers=headers, timeout=20)
        asker.seen.add(response.status_code)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                key = f"{operation.method} {operation.path} {type(failure).__name__} {response.status_code}"
                asker.problems.setdefault(
                    key, f"{key}: {str(failure)[:400]}\n  {case.as_curl_command()[:300]}"
                )

    with suppress(Unsatisfiable):  # without parameters and a body nothing can be wrong
        ask()
