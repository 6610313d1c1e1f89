"""Venues on the api of the tests: made by a chair, filled by authors, as their clients would do it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from api_instance import Account, Instance
from vitrine_common.clock import utcnow
from vitrine_common.documents import User, Venue


@dataclass
class Hosted:
    """A venue with its chair."""

    api: Instance
    chair: Account
    id: str
    venue: dict[str, Any]

    @property
    def token(self) -> str:
        """Of its page for authors."""
        return str(self.venue["submit_url"]).rpartition("/")[2]

    @property
    def path(self) -> str:
        """Where its API is."""
        return f"/api/v1/venues/{self.id}"

    async def submit(self, author: Account, reference: str, paper: str = "", **fields: Any) -> dict[str, Any]:
        """Submit a version."""
        paper = paper or f"P-{secrets.token_hex(3)}"
        body = {"ref": reference, "paper_id": paper, "title": f"On {paper}", **fields}
        answer = await author.client.post(f"/api/v1/calls/{self.token}/submissions", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def reviewers(self, *lines: str) -> list[dict[str, Any]]:
        """Put reviewers on the roster."""
        answer = await self.chair.client.post(f"{self.path}/reviewers", json={"lines": "\n".join(lines)})
        assert answer.status_code == 201, answer.text
        return list(answer.json()["items"])

    async def assign(self, submission: dict[str, Any], reviewer: dict[str, Any]) -> str:
        """Have somebody review something; return the review's id."""
        body = {"submission_id": submission["id"], "reviewer_id": reviewer["id"]}
        answer = await self.chair.client.post(f"{self.path}/assignments", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ask(self, method: str, rest: str, status: int = 200, **request: Any) -> Any:
        """Ask as the chair."""
        answer = await self.chair.client.request(method, f"{self.path}{rest}", **request)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer.text

    async def pass_deadline(self) -> None:
        """Let the deadline be over."""
        await pass_deadline(self.api, self.id)


async def chair(api: Instance) -> Account:
    """Somebody new who may make venues."""
    account = await api.account()
    users = api.platform.database.collection(User)
    await users.require({"_id": account.id}, {"roles": ["chair"]})
    return account


async def hosted(api: Instance, **wishes: Any) -> Hosted:
    """A new venue of a new chair."""
    account = await chair(api)
    body = {"name": "ReproConf 2027", "deadline": "2099-12-01", "time_zone": "Europe/Berlin", **wishes}
    answer = await account.client.post("/api/v1/venues", json=body)
    assert answer.status_code == 201, answer.text
    return Hosted(api, account, answer.json()["id"], answer.json())


async def pass_deadline(api: Instance, venue_id: str) -> None:
    """Let the deadline of a venue be over."""
    venues = api.platform.database.collection(Venue)
    await venues.require({"_id": venue_id}, {"deadline": utcnow() - timedelta(seconds=1)})
