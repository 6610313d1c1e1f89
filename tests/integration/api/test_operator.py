"""The operator's pages and the audit log, on real servers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

from api_instance import FILES, Account, Instance, manifest, problem
from page_visits import log_in, token_in
from vitrine_common.bus.delivery import REASON_HEADER
from vitrine_common.digests import canonical_json
from vitrine_common.documents import TrainRequest
from vitrine_common.ids import new_id
from vitrine_common.messages import VersionRegister, seal
from vitrine_common.messages.subjects import DEAD_LETTERS

LETTERS = "/api/v1/operator/dead-letters"


async def letter_of(api: Instance, trial_id: str) -> dict[str, Any]:
    """Wait for the dead letter about a trial."""
    while True:
        found = (await api.operator.client.get(LETTERS)).json()["items"]
        for letter in found:
            if letter["about"].get("trial_id") == trial_id:
                return dict(letter)
        await asyncio.sleep(0.05)


async def poisoned(api: Instance, owner: Account) -> tuple[VersionRegister, dict[str, Any]]:
    """Say that a version came of a trial that does not exist; give the wish and its dead letter."""
    await owner.upload(FILES)
    document = manifest()
    digest = await api.platform.blobs.put_bytes(canonical_json(document))
    wish = VersionRegister(version_id=new_id("version"), manifest_digest=digest, trial_id=new_id("trial"))
    await api.platform.bus.send(wish)
    return wish, await letter_of(api, wish.trial_id)


async def repair(api: Instance, owner: Account, wish: VersionRegister) -> None:
    """Make the trial that was missing."""
    trial = TrainRequest(
        id=wish.trial_id,
        owner_id=owner.id,
        owner=owner.name,
        model="late",
        manifest_digest=wish.manifest_digest,
    )
    await api.database_as("api").collection(TrainRequest).insert(trial)


async def actions(api: Instance, subject: str) -> list[str]:
    page = (await api.operator.client.get("/api/v1/operator/audit", params={"limit": 200})).json()
    return [entry["action"] for entry in page["items"] if entry["subject"].startswith(subject)]


async def test_a_dead_letter_is_replayed_to_success_once(api: Instance) -> None:
    owner = await api.account()
    wish, letter = await poisoned(api, owner)
    assert letter["kind"] == "version.register"
    assert wish.trial_id in letter["reason"]
    assert letter["about"] == {
        "version_id": wish.version_id,
        "manifest_digest": wish.manifest_digest,
        "trial_id": wish.trial_id,
    }
    await repair(api, owner, wish)
    path = f"{LETTERS}/{letter['number']}"
    answers = await asyncio.gather(*(api.operator.client.post(f"{path}/replay") for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert any(answer.status_code == 200 for answer in answers)
    while (await owner.client.get(f"/api/v1/versions/{wish.version_id}")).status_code != 200:
        await asyncio.sleep(0.05)
    assert (await owner.client.get(f"/api/v1/models/{owner.name}/late")).json()["last_number"] == 1
    problem(await api.operator.client.get(path), 404)
    problem(await api.operator.client.post(f"{path}/replay"), 404)
    assert await actions(api, f"{letter['number']} (") == ["dead_letter.replayed"]


async def test_a_message_that_stays_poison_is_a_dead_letter_again(api: Instance) -> None:
    owner = await api.account()
    wish, letter = await poisoned(api, owner)
    answer = await api.operator.client.post(f"{LETTERS}/{letter['number']}/replay")
    assert answer.status_code == 200
    again = await letter_of(api, wish.trial_id)
    while again["number"] == letter["number"]:
        again = await letter_of(api, wish.trial_id)
    assert (await api.operator.client.delete(f"{LETTERS}/{again['number']}")).status_code == 204
    problem(await api.operator.client.delete(f"{LETTERS}/{again['number']}"), 404)
    assert await actions(api, f"{again['number']} (") == ["dead_letter.dropped"]


async def test_dead_letters_tell_nothing_that_somebody_wrote(api: Instance) -> None:
    secret = "what somebody asked"
    sealed = seal(VersionRegister(version_id="v", manifest_digest="d", trial_id=new_id("trial")))
    body = json.loads(sealed.model_dump_json())
    body["payload"] |= {"inputs": secret, "request_id": ["no", "text"]}
    jetstream = api.platform.bus.client.jetstream()
    await jetstream.publish("dead.run.start.cpu", json.dumps(body).encode())
    await jetstream.publish("dead.of.nobody", secret.encode())
    reason = f"1 validation error [type=int_type, input_value={{'a': '{secret}'}}, input_type=dict]"
    await jetstream.publish("dead.of.others", b"{}", headers={REASON_HEADER: reason})
    await letter_of(api, body["payload"]["trial_id"])
    listed = await api.operator.client.get(LETTERS, params={"limit": 200})
    assert secret not in listed.text
    letters = {letter["subject"]: letter for letter in listed.json()["items"]}
    assert letters["of.nobody"]["kind"] == "unreadable"
    assert letters["of.others"]["reason"] == "1 validation error [type=int_type, input_type=dict]"
    problem(await api.operator.client.post(f"{LETTERS}/{letters['of.nobody']['number']}/replay"), 409)
    browser = await log_in(api, api.operator)
    page = await browser.get("/operator/dead-letters")
    assert page.status_code == 200
    assert secret not in page.text
    for letter in letters.values():
        fields = {"csrf_token": token_in(page.text)}
        gone = await browser.post(f"/operator/dead-letters/{letter['number']}/drop", data=fields)
        assert gone.url.path == "/operator/dead-letters"
    assert (await jetstream.stream_info(DEAD_LETTERS)).state.messages == 0
    assert "No dead letters" in (await browser.get("/operator/dead-letters")).text


async def test_letters_come_in_parts(api: Instance) -> None:
    jetstream = api.platform.bus.client.jetstream()
    sent = [await jetstream.publish("dead.of.nobody", b"x") for _ in range(3)]
    first = (
        await api.operator.client.get(LETTERS, params={"limit": 2, "after": str(sent[0].seq - 1)})
    ).json()
    assert [letter["number"] for letter in first["items"]] == [sent[0].seq, sent[1].seq]
    rest = (await api.operator.client.get(LETTERS, params={"limit": 2, "after": first["next"]})).json()
    assert [letter["number"] for letter in rest["items"]] == [sent[2].seq]
    assert rest["next"] is None
    for ack in sent:
        await api.operator.client.delete(f"{LETTERS}/{ack.seq}")


async def test_health_names_who_is_missing(api: Instance) -> None:
    found = (await api.operator.client.get("/api/v1/operator/health")).json()
    (mine,) = found["processes"]
    assert (mine["service"], mine["answers"]) == ("api", True)
    assert mine["holder"] == api.platform.holder
    assert found["missing"] == ["builder", "runner", "trainer", "monitor"]
    assert found["servers"]["nats"]["ok"] is True


async def test_queues_storage_and_settings(api: Instance) -> None:
    client = api.operator.client
    await api.account()
    queues = (await client.get("/api/v1/operator/queues")).json()
    assert {"version.register", "build.succeeded"} <= {queue["subject"] for queue in queues}
    storage = (await client.get("/api/v1/operator/storage")).json()
    assert storage["counted_all"] is True
    text = (await client.get("/api/v1/operator/settings")).text
    assert api.platform.settings.s3.secret_key.get_secret_value() not in text
    settings = {one["name"]: one for one in json.loads(text)}
    assert settings["VITRINE_S3_SECRET_KEY"]["value"] == "••••••"
    assert settings["VITRINE_API_DOOR_RATE"] == {
        "name": "VITRINE_API_DOOR_RATE",
        "value": "10000",
        "is_default": False,
        "description": settings["VITRINE_API_DOOR_RATE"]["description"],
    }


async def test_pages_show_users_and_mails(api: Instance) -> None:
    someone = await api.account()
    await api.services.mail.post("eva@example.org", "A code for you", "It is 123 456.")
    browser = await log_in(api, api.operator)
    assert (await browser.get("/operator")).status_code == 200
    users = await browser.get("/operator/users")
    assert someone.email in users.text
    assert "Storage" in users.text
    while "It is 123 456." not in (await browser.get("/operator/mails")).text:
        await asyncio.sleep(0.05)


async def test_roles_are_given_and_taken_by_a_form(api: Instance) -> None:
    someone = await api.account()
    browser = await log_in(api, api.operator)
    url = f"/operator/users/{someone.name}"
    assert url in (await browser.get("/operator/users")).text
    fields = {"csrf_token": token_in((await browser.get(url)).text)}
    saved = await browser.post(f"{url}/roles", data={**fields, "role": ["chair", "operator"]})
    assert (saved.url.path, "The roles are saved." in saved.text) == (url, True)
    who = (await someone.client.get("/api/v1/whoami")).json()
    assert (who["roles"], who["operator"]) == (["chair"], True)
    await browser.post(f"{url}/roles", data=fields)
    who = (await someone.client.get("/api/v1/whoami")).json()
    assert (who["roles"], who["operator"]) == ([], False)
    logged = {action for action in await actions(api, someone.id) if action.startswith("role.")}
    assert logged == {
        f"role.{what}:{role}" for what in ("granted", "revoked") for role in ("chair", "operator")
    }
    refused = await browser.post(f"/operator/users/{api.operator.name}/roles", data=fields)
    assert refused.status_code == 409
    assert "let another operator do it" in refused.text
    assert (await browser.get("/operator/users/nobody-at-all")).status_code == 404


async def test_quotas_are_set_by_a_form_in_units_that_people_write(api: Instance) -> None:
    someone = await api.account()
    browser = await log_in(api, api.operator)
    url = f"/operator/users/{someone.name}"
    fields = {"csrf_token": token_in((await browser.get(url)).text)}
    wish = {"max_storage_bytes": "2Gi", "max_runs_per_day": "7", "max_build_seconds_per_day": "30"}
    await browser.post(f"{url}/quotas", data={**fields, **wish})

    async def limits() -> list[int]:
        return [one["limit"] for one in (await someone.client.get("/api/v1/whoami")).json()["quotas"]]

    assert await limits() == [2 << 30, 7, 1800]
    page = (await browser.get(url)).text
    for written in wish.values():
        assert f'value="{written}"' in page, "what was saved is shown as it was written"
    for name, wrong in (("max_runs_per_day", "-1"), ("max_storage_bytes", "much")):
        refused = await browser.post(f"{url}/quotas", data={**fields, **wish, name: wrong})
        assert refused.status_code == 422
        assert f'id="{name}-error"' in refused.text
    await browser.post(f"{url}/quotas", data={**fields, "max_storage_bytes": "0"})
    everybody = api.services.settings
    assert await limits() == [0, everybody.max_runs_per_day, everybody.max_build_seconds_per_day]


async def test_owners_read_and_download_their_own_log(api: Instance) -> None:
    owner, other = await api.account(), await api.account()
    version = await api.ready(owner)
    link = await owner.share(version["reference"])
    await other.client.get("/api/v1/whoami")
    entries = (await owner.client.get("/api/v1/audit")).json()["items"]
    made = next(entry for entry in entries if entry["action"] == "link.created")
    assert (made["actor_name"], made["subject"]) == (owner.name, link["id"])
    only = (await owner.client.get("/api/v1/audit", params={"action": "link.created"})).json()["items"]
    assert [entry["id"] for entry in only] == [made["id"]]
    assert link["id"] not in (await other.client.get("/api/v1/audit")).text
    rows = list(csv.DictReader(io.StringIO((await owner.client.get("/api/v1/audit.csv")).text)))
    assert [row["subject"] for row in rows if row["action"] == "link.created"] == [link["id"]]
    browser = await log_in(api, owner)
    page = (await browser.get("/audit", params={"action": "link.created"})).text
    assert f'href="/links/{link["id"]}"' in page
    assert (await browser.get("/operator/audit")).status_code == 403
