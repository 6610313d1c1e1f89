"""What stands behind the routes that are asked: an owner with one of everything, and who looks on."""

from __future__ import annotations

from typing import Any

from api_instance import FILES, PNG, Account, Instance, manifest
from claims_on_api import finish_check, push_dataset
from environment_samples import version_with
from one_of_everything import finished_trial, picture


async def made_world(api: Instance) -> dict[str, Any]:
    """What the owner has: a version, runs, links, a training."""
    owner_, other = await api.account(), await api.account()
    version = await version_with(api, owner_, {"six": "1.17.0"}, name="guarded")
    owner_run = await _finished_run(api, owner_, version)
    link = await owner_.share(version["reference"], embed=["*"])
    revoked = await owner_.share(version["reference"], embed=["*"])
    link_run, visitor = await _finished_link_run(api, link["token"])
    revoked_run, revoked_visitor = await _finished_link_run(api, revoked["token"])
    assert (await owner_.client.delete(f"/api/v1/links/{revoked['id']}")).status_code == 204
    trial = await finished_trial(api, owner_)
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
    await api.finish(started.json()["id"], [picture()])
    return str(started.json()["id"])


async def _finished_link_run(api: Instance, token: str) -> tuple[str, str]:
    files = {"input.image": ("a.png", PNG, "image/png")}
    started = await api.client().post(f"/api/v1/links/{token}/runs", files=files)
    assert started.status_code == 202, started.text
    await api.finish(started.json()["id"], [picture()])
    return str(started.json()["id"]), str(started.json()["visitor"])


def training(account_: Account) -> dict[str, Any]:
    return {"manifest": manifest({**manifest()["spec"], "train": {"command": "python echo.py"}}, FILES)}
