"""A world with a blind link: planted identities wherever an author leaves them, and the search for them."""

from __future__ import annotations

import io
import re
import socket
import zipfile
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from api_instance import PNG, Account, Instance, manifest
from claims_on_api import finish_check, push_dataset
from environment_samples import environment, keep
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output, Repeat
from vitrine_common.states import Reason, RunState

FILES = {
    "lovelace_net/predict.py": b"print('hello')\n",
    "samples/lovelace-cat.png": PNG,
    "pyproject.toml": b'[project]\nauthors = [{ name = "Augusta Byron", email = "gus@byron.example" }]\n',
    ".git/config": b"[user]\n\tname = Countess Ada\n\temail = ada@git.example\n",
    "card.md": b"# Card\nWritten by Augusta Byron, see github.com/byron/engine and 0000-0002-1825-0097.\n",
}
SPEC: dict[str, Any] = {
    "name": "babbage-lovelace",
    "description": "Tells cats from dogs",
    "model": {"command": "python lovelace_net/predict.py", "input": {"type": "flag"}},
    "model_card": "card.md",
    "inputs": [
        {"name": "text", "type": "text", "default": "hello"},
        {"name": "image", "type": "image", "required": False, "examples": ["samples/lovelace-cat.png"]},
    ],
    "claims": [
        {
            "name": "accuracy",
            "statement": "Accuracy on held-out cats",
            "command": "python lovelace_net/predict.py --all",
            "dataset": "lovelace-cohort@1",
            "metric": {"file": "results/lovelace.json", "key": "accuracy"},
            "expected": 0.9,
            "tolerance": 0.01,
            "repeats": 2,
        }
    ],
}
TRACEBACK = """Traceback (most recent call last):
  File "/home/lovelace/thesis/lovelace_net/predict.py", line 3, in predict
    raise FileNotFoundError(path)
  File "/opt/environments/abc/lib/python3.11/site-packages/torch/serialization.py", line 7, in load
FileNotFoundError: samples/lovelace-cat.png by Augusta Byron <gus@byron.example> of Countess_Ada
on {host} at 10.1.2.3, see s3://{bucket}/blobs and https://byron.example/x and ~lovelace/.config
"""


@dataclass
class Blind:
    """A world with one blind link, and what nobody may read by it."""

    api: Instance
    owner: Account
    version: dict[str, Any]
    link: dict[str, Any]
    planted: list[str]
    visitor: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    check: str = ""

    @property
    def holder(self) -> httpx.AsyncClient:
        """The link's visitor, as a program and as a browser."""
        return self.api.client(
            headers={"X-Vitrine-Visitor": self.visitor}, cookies={"vitrine_visitor": self.visitor}
        )

    async def share(self, **wishes: Any) -> dict[str, Any]:
        """Share the version blindly once more."""
        return await self.owner.share(self.version["reference"], blind=True, **wishes)


@pytest.fixture(scope="module")
async def blind(api: Instance) -> Blind:
    """Make the world."""
    owner = await api.account()
    await owner.upload(FILES)
    dataset = await push_dataset(owner, "lovelace-cohort")
    pushed = await owner.client.post(
        "/api/v1/versions", json={"manifest": manifest(SPEC, FILES), "model": "babbage-lovelace"}
    )
    assert pushed.status_code == 201, pushed.text
    version = pushed.json()
    packages = {"lovelace-lib": "1.2.3", "six": "1.17.0"}
    made = environment(sha256_bytes(owner.id.encode()), packages)
    await keep(api, made)
    await api.services.versions.build_succeeded(version["build_id"], made.id)
    link = await owner.share(
        version["reference"], blind=True, label="for Reviewer 2", embed=["*"], max_runs=200
    )
    planted = [
        *(owner.name, owner.email, owner.id, version["reference"], "babbage-lovelace", "lovelace", "Byron"),
        *("Countess", "ada@git", "thesis", "10.1.2.3", "Reviewer 2", link["id"], version["id"]),
        *(version["digest"], sha256_bytes(PNG), made.id, dataset["digest"], version["build_id"]),
        *(socket.gethostname(), api.platform.settings.s3.bucket, str(api.platform.settings.environments_dir)),
    ]
    world = Blind(api, owner, version, link, [word.lower() for word in planted])
    await _run_things(world)
    await _check_things(world)
    return world


async def _run_things(world: Blind) -> None:
    path = f"/api/v1/links/{world.link['token']}/runs"
    for name in ("failed", "succeeded", "working"):
        started = await world.api.client(
            headers={"X-Vitrine-Visitor": world.visitor} if world.visitor else {}
        ).post(path, json={"inputs": {"image": {"example": "example-1.png"}}})
        assert started.status_code == 202, started.text
        world.visitor, world.runs[name] = started.json()["visitor"], started.json()["id"]
    log = traceback_of(world)
    failure: dict[str, Any] = {
        "state": RunState.FAILED,
        "reason": Reason.USER_ERROR,
        "message": log[-300:],
        "log_tail": log,
    }
    await world.api.finish(world.runs["failed"], **failure)
    outputs = [_picture(), Output(name="label", type="text", value='"cat"')]
    await world.api.finish(world.runs["succeeded"], outputs, log_tail=log)
    for name in ("failed", "succeeded"):
        await world.api.services.receipts.issue_run(world.runs[name])


async def _check_things(world: Blind) -> None:
    started = await world.holder.post(
        f"/api/v1/links/{world.link['token']}/claims/checks", json={"claim": "accuracy"}
    )
    assert started.status_code == 202, started.text
    world.check = started.json()["id"]
    log = traceback_of(world)
    repeats = [
        Repeat(value=0.9, duration_ms=5.0, log_tail=log),
        Repeat(reason=Reason.USER_ERROR, message=log[-300:], log_tail=log),
    ]
    check = await finish_check(world.api, world.check, (0.9, None), repeats=repeats, message=log[-300:])
    await world.api.services.attesting.checked(check.id)


def traceback_of(world: Blind) -> str:
    """What the author's program printed as it failed."""
    return TRACEBACK.format(host=socket.gethostname(), bucket=world.api.platform.settings.s3.bucket)


def _picture() -> Output:
    digest = sha256_bytes(PNG)
    return Output(
        name="image",
        type="image",
        digest=digest,
        size=len(PNG),
        media_type="image/png",
        filename="lovelace.png",
    )


def assert_nothing_planted(world: Blind, what: str, answer: httpx.Response) -> None:
    """Look through headers and content. The author's own words, of which they were warned, are let pass."""
    text = text_of(answer).replace(html_of_card(), "").replace(FILES["card.md"].decode(), "")
    said = "\n".join(f"{name}: {value}" for name, value in answer.headers.items()) + text
    for word in world.planted:
        # A short host name stands in random tokens, too; as a word it does not.
        pattern = re.escape(word) if len(word) > 4 else rf"\b{re.escape(word)}\b"
        found = re.search(pattern, said.lower())
        assert found is None, f"{what} says {word}: {said[max(0, found.start() - 150) : found.end() + 150]}"


def text_of(answer: httpx.Response) -> str:
    """The content; an archive's names and members."""
    if not answer.content.startswith(b"PK"):
        return answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return "\n".join(
            f"{name}\n{archive.read(name).decode(errors='replace')}" for name in archive.namelist()
        )


def html_of_card() -> str:
    return "Written by Augusta Byron, see github.com/byron/engine and 0000-0002-1825-0097."
