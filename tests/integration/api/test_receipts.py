"""Receipts on a real instance: issued once, whoever may have them gets them, keys come and go."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api_instance import Instance, platform_settings, problem
from receipt_samples import CLAIM, CONDITIONS, PICTURE
from servers import S3Address
from vitrine_api import keys as keys_command
from vitrine_api.receipts import CatchUp, NoSigningKey, Receipts, Signer
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_common.digests import digest_of_json, sha256_bytes
from vitrine_common.documents import Output, Receipt, Run, ShareLink, SigningKey
from vitrine_common.messages import RunFinished
from vitrine_common.receipts.commitments import key_of
from vitrine_common.receipts.keys import KeySet, read_keys
from vitrine_common.receipts.openings import open_receipt, read_opening
from vitrine_common.receipts.predicates import RunStatement
from vitrine_common.receipts.verification import Fault, verify
from vitrine_common.states import Reason, RunState
from vitrine_common.store import Database

OUTPUT = Output(
    name="picture",
    type="image",
    digest=sha256_bytes(PICTURE),
    size=len(PICTURE),
    media_type="image/png",
    filename="out.png",
)


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    """What `found` returns once it returns something."""
    async with asyncio.timeout(20):
        while not (value := await found()):
            await asyncio.sleep(0.02)
    return value


async def keys_of(api: Instance) -> KeySet:
    answer = await api.client().get("/.well-known/vitrine-keys.json")
    assert answer.status_code == 200
    return read_keys(answer.content)


async def finished(api: Instance, **fields: Any) -> tuple[Any, dict[str, Any], str]:
    """An account, its version and a run that has ended."""
    account = await api.account()
    version = await api.ready(account)
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    started = (await account.client.post(path, json={"inputs": {"text": "hello"}})).json()
    await api.finish(started["id"], [OUTPUT], **{"conditions": CONDITIONS, "exit_code": 0, **fields})
    return account, version, started["id"]


async def test_a_runs_receipt_names_what_was_run(api: Instance) -> None:
    account, version, run_id = await finished(api)
    answer = await account.client.get(f"/api/v1/runs/{run_id}/receipt")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/vnd.dsse+json")
    assert run_id in answer.headers["content-disposition"]
    found = verify(answer.content, await keys_of(api))
    assert found.valid
    assert isinstance(found.statement, RunStatement)
    told = found.statement.predicate
    assert told.instance.url == api.url
    assert told.bundle.name == version["reference"]
    assert told.bundle.digest == {"sha256": version["digest"].removeprefix("sha256:")}
    assert told.spec == {"sha256": digest_of_json(version["spec"]).removeprefix("sha256:")}
    assert told.environment.digest == {"sha256": sha256_bytes(b"environment").removeprefix("sha256:")}
    assert [(item.name, item.digest) for item in told.inputs] == [
        ("text", {"sha256": digest_of_json("hello").removeprefix("sha256:")})
    ]
    assert [item.digest["sha256"] for item in told.outputs] == [sha256_bytes(PICTURE)[7:]]
    again = await account.client.get(f"/api/v1/runs/{run_id}/receipt")
    assert again.content == answer.content


async def test_a_run_is_given_its_receipt_when_its_end_is_told(api: Instance) -> None:
    """Told three times, by three processes as it were: one receipt."""
    account = await api.account()
    version = await api.ready(account)
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    run_id = (await account.client.post(path, json={"inputs": {}})).json()["id"]
    reason = Reason.USER_ERROR
    await api.finish(run_id, state=RunState.FAILED, reason=reason)
    told = RunFinished(run_id=run_id, version_id=version["id"], state=RunState.FAILED, reason=reason)
    for _ in range(3):
        await api.platform.bus.send(told)
    receipt = await until(lambda: api.services.receipts.of(run_id))
    found = verify(receipt.envelope.encode(), await keys_of(api))
    assert found.statement is not None
    assert found.statement.predicate.verdict == "failed"
    every = await asyncio.gather(*(api.services.receipts.issue_run(run_id) for _ in range(8)))
    assert {one.envelope for one in every if one} == {receipt.envelope}
    stored = await api.platform.database.collection(Receipt).find({"version_id": version["id"]})
    assert [one.subject_id for one in stored] == [run_id]


async def test_who_may_have_a_receipt(api: Instance) -> None:
    account, version, run_id = await finished(api)
    stranger = await api.account()
    problem(await stranger.client.get(f"/api/v1/runs/{run_id}/receipt"), 404)
    problem(await api.client().get(f"/api/v1/runs/{run_id}/receipt"), 401)
    link = await account.share(version["reference"])
    visitor = api.client(headers={"X-Vitrine-Visitor": secrets.token_hex(8)})
    base = f"/api/v1/links/{link['token']}/runs"
    by_link = (await visitor.post(base, json={"inputs": {}})).json()["id"]
    problem(await visitor.get(f"{base}/{by_link}/receipt"), 404)
    await api.finish(by_link, [OUTPUT])
    assert (await visitor.get(f"{base}/{by_link}/receipt")).status_code == 200
    other = api.client(headers={"X-Vitrine-Visitor": secrets.token_hex(8)})
    problem(await other.get(f"{base}/{by_link}/receipt"), 404)
    problem(await visitor.get(f"{base}/{run_id}/receipt"), 404)
    # The author learns that it took place, not what was given and answered.
    problem(await account.client.get(f"/api/v1/runs/{by_link}/receipt"), 403)


async def test_what_never_ended_well_or_badly_has_none(api: Instance) -> None:
    account, _, run_id = await finished(api, state=RunState.CANCELLED, reason=Reason.CANCELLED)
    body = problem(await account.client.get(f"/api/v1/runs/{run_id}/receipt"), 404)
    assert "succeeds or fails" in body["detail"]


async def blind_run(api: Instance) -> tuple[Any, dict[str, Any], dict[str, Any], bytes]:
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"], blind=True)
    base = f"/api/v1/links/{link['token']}/runs"
    visitor = api.client(headers={"X-Vitrine-Visitor": secrets.token_hex(8)})
    run_id = (await visitor.post(base, json={"inputs": {"text": "mine"}})).json()["id"]
    await api.finish(run_id, [OUTPUT], conditions=CONDITIONS)
    answer = await visitor.get(f"{base}/{run_id}/receipt")
    assert answer.status_code == 200, answer.text
    return account, version, link, answer.content


async def test_a_blind_links_receipt_tells_no_digest_until_it_is_opened(api: Instance) -> None:
    account, version, link, receipt = await blind_run(api)
    found = verify(receipt, await keys_of(api))
    assert found.valid
    assert isinstance(found.statement, RunStatement)
    told = json.dumps(found.statement.document())
    digests = version["digest"][7:], sha256_bytes(PICTURE)[7:]
    for secret in (account.name, version["model"], "out.png", *digests):
        assert secret not in told
    stranger = await api.account()
    problem(await stranger.client.get(f"/api/v1/links/{link['id']}/opening"), 404)
    answer = await account.client.get(f"/api/v1/links/{link['id']}/opening")
    assert answer.status_code == 200, answer.text
    opening = read_opening(answer.content)
    opened = {item.domain: item.claimed for item in open_receipt(found.statement, opening)}
    shown = {domain: claimed.digest for domain, claimed in opened.items() if claimed}
    assert shown == {
        "bundle": version["digest"],
        "spec": digest_of_json(version["spec"]),
        "environment": sha256_bytes(b"environment"),
    }
    assert CONDITIONS.harness not in answer.text, "it would tell the author that somebody ran it"
    # What a visitor gave and got is theirs: the opening does not name it.
    assert sha256_bytes(PICTURE) not in answer.text
    assert digest_of_json("mine") not in answer.text
    document = await api.platform.database.collection(ShareLink).get(link["id"])
    assert opening.key == key_of(document.key)
    assert document.key not in answer.text


async def test_a_receipt_is_opened_after_the_link_was_unblinded(api: Instance) -> None:
    account, version, link, receipt = await blind_run(api)
    answer = await account.client.post(f"/api/v1/links/{link['id']}/unblind")
    assert answer.status_code == 200, answer.text
    found = verify(receipt, await keys_of(api))
    assert found.statement is not None
    opening = read_opening((await account.client.get(f"/api/v1/links/{link['id']}/opening")).content)
    opened = {item.claimed.digest for item in open_receipt(found.statement, opening) if item.claimed}
    assert {version["digest"], CONDITIONS.harness} <= opened


async def test_checking_one_by_the_api(api: Instance) -> None:
    account, _, run_id = await finished(api)
    receipt = (await account.client.get(f"/api/v1/runs/{run_id}/receipt")).content
    anybody = api.client()
    good = (await anybody.post("/api/v1/receipts/verify", content=receipt)).json()
    assert good["valid"]
    assert good["statement"]["predicate"]["runId"] == run_id
    altered = receipt.replace(b'"sig":"', b'"sig":"A', 1)
    bad = (await anybody.post("/api/v1/receipts/verify", content=altered)).json()
    assert (bad["valid"], bad["statement"]) == (False, None)
    assert bad["message"]


async def test_a_claims_receipt_is_issued_once(api: Instance) -> None:
    check = CLAIM.__class__(**{**vars(CLAIM), "check_id": "check_" + secrets.token_hex(8)})
    whose = {"owner_id": "user_x", "version_id": "version_x"}
    first = await api.services.receipts.issue_claim(check, **whose)
    second = await api.services.receipts.issue_claim(check, **whose)
    assert first.envelope == second.envelope
    assert first.kind == "claim"
    assert verify(first.envelope.encode(), await keys_of(api)).valid


@pytest.fixture
async def desk(api: Instance, mongo_url: str, s3_address: S3Address) -> AsyncIterator[Database]:
    """A database of its own, without keys."""
    settings = platform_settings(api.platform.settings.nats.url, mongo_url, s3_address)
    database = Database(settings.mongo, "api", api.platform.bus)
    await database.ensure_indexes([Receipt, SigningKey])
    yield database
    database.close()


def receipts_of(database: Database, path: Path | None) -> Receipts:
    """What one api process has; its view of the keys is never older than this moment."""
    repository = ReceiptRepository(database)
    signer = Signer(path, repository, "https://vitrine.example")
    return Receipts(repository, signer, "https://vitrine.example")


async def test_a_key_is_made_once_for_every_process_and_is_its_owners_alone(
    desk: Database, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "signing-key.pem"
    processes = [receipts_of(desk, path) for _ in range(6)]
    await asyncio.gather(*(one.signer.open() for one in processes))
    ids = {(await one.signer.current()).id for one in processes}
    assert len(ids) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    (stored,) = await ReceiptRepository(desk).keys()
    assert stored.id in ids
    private = path.read_text().splitlines()[1]
    assert private not in stored.model_dump_json()


async def test_rotation_keeps_what_the_old_key_signed(desk: Database, tmp_path: Path) -> None:
    path, repository = tmp_path / "signing-key.pem", ReceiptRepository(desk)
    process = receipts_of(desk, path)
    before = await process.issue_claim(CLAIM, owner_id="u", version_id="v")
    new = await keys_command.rotate(repository, path, overlap_seconds=0)
    later = CLAIM.__class__(**{**vars(CLAIM), "check_id": "check_02"})
    after = await process.issue_claim(later, owner_id="u", version_id="v")
    assert after.key_id == new != before.key_id
    known = await receipts_of(desk, path).signer.published()
    assert verify(before.envelope.encode(), known).valid
    assert verify(after.envelope.encode(), known).valid
    assert known.keys[before.key_id].not_after is not None
    assert known.keys[new].not_after is None


async def test_a_process_with_a_retired_key_signs_nothing(desk: Database, tmp_path: Path) -> None:
    """Another host whose file was not replaced in time: its receipts would not verify."""
    mine, theirs = tmp_path / "mine.pem", tmp_path / "theirs.pem"
    await receipts_of(desk, mine).signer.open()
    theirs.write_bytes(mine.read_bytes())
    await keys_command.rotate(ReceiptRepository(desk), mine, overlap_seconds=-1)
    with pytest.raises(NoSigningKey, match="rotate"):
        await receipts_of(desk, theirs).issue_claim(CLAIM, owner_id="u", version_id="v")
    await receipts_of(desk, mine).issue_claim(CLAIM, owner_id="u", version_id="v")


async def test_a_leaked_key_is_revoked_and_replaced(desk: Database, tmp_path: Path) -> None:
    path, repository = tmp_path / "signing-key.pem", ReceiptRepository(desk)
    leaked = await receipts_of(desk, path).issue_claim(CLAIM, owner_id="u", version_id="v")
    new = await keys_command.revoke(repository, path, leaked.key_id, "laptop stolen")
    known = await receipts_of(desk, path).signer.published()
    found = verify(leaked.envelope.encode(), known)
    assert found.fault is Fault.KEY_REVOKED
    assert "laptop stolen" in found.message
    assert (await receipts_of(desk, path).signer.current()).id == new
    assert await keys_command.revoke(repository, path, leaked.key_id, "again") is None


@pytest.mark.parametrize("content", [None, b"not a key"])
async def test_without_a_key_nothing_is_issued_and_it_is_said(
    desk: Database, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = None if content is None else tmp_path / "key.pem"
    if path is not None and content is not None:
        path.write_bytes(content)
    process = receipts_of(desk, path)
    await process.signer.open()
    assert "no receipts are issued" in caplog.text
    with pytest.raises(NoSigningKey):
        await process.issue_claim(CLAIM, owner_id="u", version_id="v")


async def test_a_run_whose_end_nobody_heard_of_is_found(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event was lost. A run that still goes on is looked at again, and one that was cancelled is left."""
    monkeypatch.setattr("vitrine_api.receipts.catching_up._SETTLED_SECONDS", -1.0)
    account, version, run_id = await finished(api)
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    slow, cancelled = [(await account.client.post(path, json={"inputs": {}})).json()["id"] for _ in range(2)]
    await api.finish(cancelled, state=RunState.CANCELLED)
    receipts = api.services.receipts
    assert await receipts.of(run_id) is None
    catch_up = CatchUp(ReceiptRepository(api.platform.database), receipts, 60)
    await catch_up.once()
    assert await receipts.of(run_id) is not None
    assert await receipts.of(cancelled) is None
    assert await catch_up.once() == 0
    await api.finish(slow)
    assert await catch_up.once() == 1
    assert await receipts.of(slow) is not None
    assert await catch_up.once() == 0


async def test_the_receipts_of_what_was_deleted_stay(api: Instance) -> None:
    account, _, run_id = await finished(api)
    receipt = await api.services.receipts.issue_run(run_id)
    assert receipt is not None
    await api.database_as("runner").collection(Run).delete({"_id": run_id})
    assert await api.services.receipts.issue_run(run_id) == receipt
    answer = await account.client.get(f"/api/v1/runs/{run_id}/receipt")
    assert answer.text == receipt.envelope
