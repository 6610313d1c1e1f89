"""How much lists and pages ask of the database: few queries, bounded answers, each served by an index.

Work is counted and not timed, so that a busy machine changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance
from vitrine_api.credentials import visitor_id
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Model, Run, RunRequest, Version
from vitrine_common.ids import new_id
from vitrine_common.states import RunState, VersionState
from vitrine_common.store import Collection
from vitrine_common.telemetry import correlation_id

MANY = 130
SECRET = "a-visitor-of-this-test"
ASKED = {"X-Request-Id": "work-is-counted"}
KINDS = {Model, Version, Run, RunRequest}
"""What there may be very many of."""


@dataclass
class Work:
    """What was asked of the database."""

    queries: int = 0
    documents: int = 0
    unserved: list[str] = field(default_factory=list)
    """Queries over a collection of many documents that no index serves."""


def is_served(kind: Any, where: Mapping[str, Any], sort: Sequence[tuple[str, int]]) -> bool:
    """Say whether an index leads to the matches: fields compared for equality, then those of the order."""
    equal = {name for name, value in where.items() if isinstance(value, str | int)}
    if "_id" in where:
        return True
    order = [name for name, _ in sort]
    for index in kind.INDEXES:
        names = [name for name, _ in index.keys]
        ahead = 0
        while ahead < len(names) and names[ahead] in equal:
            ahead += 1
        if ahead and (names[ahead : ahead + len(order)] == order or len(equal) == len(names) == ahead):
            return True
    return False


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Count what requests with `ASKED` ask for in this block, and nothing that the api does by itself."""
    work = Work()
    find = Collection.find

    async def counting(
        self: Collection[Any],
        where: Mapping[str, Any],
        sort: Sequence[tuple[str, int]] = (("created_at", -1),),
        limit: int = 100,
        skip: int = 0,
    ) -> list[Any]:
        found = await find(self, where, sort, limit, skip)
        if correlation_id() == ASKED["X-Request-Id"] and self._document in KINDS:
            work.queries += 1
            work.documents += len(found)
            if not is_served(self._document, where, sort):
                work.unserved.append(f"{self._document.__name__}: {dict(where)} by {list(sort)}")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "find", counting)
        yield work


@pytest.fixture(scope="module")
async def busy(api: Instance) -> tuple[Account, dict[str, Any], dict[str, Any]]:
    """Somebody with many models and many runs, half of them by one visitor of one link."""
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(f"{account.name}/{version['model']}@1")
    now = utcnow()
    models, versions = [], []
    for index in range(MANY):
        at = now - timedelta(minutes=index + 1)
        common: dict[str, Any] = {"owner_id": account.id, "owner": account.name, "created_at": at}
        name, model_id = f"many-{index:04d}", new_id("model")
        digest = sha256_bytes(name.encode())
        found = Version(
            id=new_id("version"),
            model_id=model_id,
            model=name,
            number=1,
            digest=digest,
            spec={"name": name},
            file_count=1,
            total_bytes=1,
            state=VersionState.READY,
            **common,
        )
        versions.append(found)
        models.append(Model(id=model_id, name=name, last_number=1, newest_id=found.id, **common))
    own = api.platform.database
    await own.collection(Model).insert_all(models)
    await own.collection(Version).insert_all(versions)
    whose = {"version_id": version["id"], "version_digest": version["digest"], "owner_id": account.id}
    requests = [
        RunRequest(
            id=new_id("run"),
            created_at=now - timedelta(minutes=index + 1),
            environment_digest=sha256_bytes(b"environment"),
            user_id=None if index % 2 else account.id,
            link_id=link["id"] if index % 2 else None,
            visitor_id=visitor_id(link["id"], SECRET) if index % 2 else None,
            inputs='{"text":"hello"}',
            expires_at=now,
            **whose,
        )
        for index in range(4 * MANY)
    ]
    await own.collection(RunRequest).insert_all(requests)
    runs = [
        Run(
            id=request.id,
            created_at=request.created_at,
            link_id=request.link_id,
            visitor_id=request.visitor_id,
            state=RunState.FAILED if index % 3 == 0 else RunState.SUCCEEDED,
            started_at=now,
            finished_at=now,
            **whose,
        )
        for index, request in enumerate(requests)
    ]
    await api.database_as("runner").collection(Run).insert_all(runs)
    return account, version, link


@pytest.fixture
async def browser(api: Instance, busy: tuple[Account, Any, Any]) -> httpx.AsyncClient:
    """The owner's browser, logged in."""
    user = await api.services.repository.accounts.users.get(busy[0].id)
    client = api.client()
    client.cookies.set("vitrine_session", await api.services.sessions.open(user))
    return client


@pytest.mark.parametrize(
    ("path", "bounds"),
    [
        ("/", (12, 40)),
        ("/models", (4, 70)),
        ("/models?sort=name", (4, 70)),
        ("/models?q=many&sort=name", (4, 70)),
        ("/runs", (5, 160)),
        ("/runs?state=failed", (5, 160)),
        ("/runs?reference={owner}/{model}@1", (5, 160)),
        ("/models/{owner}/{model}", (8, 60)),
        ("/models/{owner}/{model}/versions/1", (8, 60)),
        ("/api/v1/models?sort=updated", (4, 110)),
        ("/api/v1/runs", (5, 160)),
        ("/api/v1/runs?state=failed", (5, 160)),
    ],
)
async def test_lists_ask_for_a_page_whatever_there_is(
    busy: tuple[Account, dict[str, Any], Any],
    browser: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    bounds: tuple[int, int],
) -> None:
    account, version, _ = busy
    with counted(monkeypatch) as work:
        answer = await browser.get(path.format(owner=account.name, model=version["model"]), headers=ASKED)
    assert answer.status_code == 200, answer.text
    assert 0 < work.queries <= bounds[0]
    assert 0 < work.documents <= bounds[1]
    assert work.unserved == []


async def test_the_last_page_costs_what_the_first_does(
    busy: tuple[Account, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    account, after, pages = busy[0], "", 0
    seen: list[str] = []
    while after is not None:
        with counted(monkeypatch) as work:
            params = {"after": after} if after else {}
            answer = await account.client.get("/api/v1/runs", params=params, headers=ASKED)
        assert 0 < work.documents <= 160
        seen += [item["id"] for item in answer.json()["items"]]
        after, pages = answer.json()["next"], pages + 1
    assert pages > 5
    assert len(seen) == len(set(seen)) == 4 * MANY


async def test_a_showcase_asks_for_the_newest_runs_alone(
    api: Instance, busy: tuple[Account, Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = api.client(cookies={"vitrine_visitor": SECRET})
    with counted(monkeypatch) as work:
        page = await visitor.get(f"/s/{busy[2]['token']}", headers=ASKED)
    assert page.status_code == 200
    assert 20 < work.documents <= 50
    assert work.queries <= 4
    assert work.unserved == []


def test_a_query_without_its_index_is_told() -> None:
    where = {"owner_id": {"$eq": "u"}, "state": "failed"}
    assert not is_served(Run, {"state": "failed", "link_id": "l"}, (("finished_at", -1),))
    assert not is_served(Run, where, (("created_at", -1),))
    assert is_served(Run, {"owner_id": "u", "state": "failed"}, (("created_at", -1),))
    assert not is_served(Run, {"owner_id": "u"}, (("created_at", -1),))
