"""Receipts from the command line to the real api and back; the operator's command for keys."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_instance import Account, Instance
from receipt_samples import CONDITIONS, PICTURE
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output

Type = Callable[..., Any]
OUTPUT = Output(
    name="picture", type="image", digest=sha256_bytes(PICTURE), size=len(PICTURE), media_type="image/png"
)


async def ended(api: Instance, author: Account) -> tuple[dict[str, Any], str]:
    version = await api.ready(author)
    path = f"/api/v1/versions/{version['owner']}/{version['model']}/{version['number']}/runs"
    run_id = (await author.client.post(path, json={"inputs": {}})).json()["id"]
    await api.finish(run_id, [OUTPUT], conditions=CONDITIONS)
    return version, str(run_id)


async def test_a_receipt_is_fetched_kept_and_checked_without_the_platform(
    api: Instance, author: Account, command: Type, tmp_path: Path
) -> None:
    version, run_id = await ended(api, author)
    (tmp_path / "out.png").write_bytes(PICTURE)
    assert (await command("receipt", run_id, "-o", "r.json")).status == 0
    first = await command("verify", "r.json", "--file", "out.png", "--json")
    assert (first.status, first.json["holds"]) == (0, True)
    assert first.json["statement"]["predicate"]["bundle"]["name"] == version["reference"]
    # From here on nothing answers: the keys are kept, or given.
    keys = (await api.client().get("/.well-known/vitrine-keys.json")).content
    (tmp_path / "keys.json").write_bytes(keys)
    gone = {"VITRINE_URL": "http://127.0.0.1:9"}
    assert (await command("verify", "r.json", "--keys", "keys.json", **gone)).status == 0
    assert (await command("verify", "r.json", **gone)).status == 1  # another platform, whose keys nobody has
    (tmp_path / "r.json").write_bytes((tmp_path / "r.json").read_bytes() + b"\n")
    altered = await command("verify", "r.json", "--json")
    assert (altered.status, altered.json["fault"]) == (1, "malformed")


async def test_a_version_is_exported(api: Instance, author: Account, command: Type, tmp_path: Path) -> None:
    version, _ = await ended(api, author)
    link = await author.share(version["reference"])
    assert (await command("export", version["reference"], "-o", "mine.zip", "--with-files")).status == 0
    assert (await command("export", f"{api.url}/s/{link['token']}", "-o", "seen.zip")).status == 0
    with zipfile.ZipFile(tmp_path / "mine.zip") as mine, zipfile.ZipFile(tmp_path / "seen.zip") as seen:
        assert "files/echo.py" in mine.namelist()
        assert not [name for name in seen.namelist() if name.startswith("files/")]
        assert "ro-crate-metadata.json" in seen.namelist()


async def test_the_operators_command_rotates_and_revokes(
    api: Instance, author: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running api signs with the new key at once; what a key signed holds until it is revoked."""
    monkeypatch.setattr("vitrine_api.receipts.signing._FRESH_SECONDS", 0.2)
    settings = api.platform.settings
    environment = {
        **os.environ,
        "VITRINE_MONGO_URL": settings.mongo.url,
        "VITRINE_MONGO_DATABASE": settings.mongo.database,
        "VITRINE_API_SIGNING_KEY_FILE": str(api.services.settings.signing_key_file),
    }

    async def keys(*words: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vitrine_api.keys", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, err = await process.communicate()
        return json.loads(out) if process.returncode == 0 else err.decode()

    async def signed() -> tuple[str, bytes]:
        _, run_id = await ended(api, author)
        receipt = (await author.client.get(f"/api/v1/runs/{run_id}/receipt")).content
        return json.loads(receipt)["signatures"][0]["keyid"], receipt

    async def holds(receipt: bytes) -> bool:
        answer = await api.client().post("/api/v1/receipts/verify", content=receipt)
        return bool(answer.json()["valid"])

    old, before = await signed()
    new = (await keys("rotate"))["key"]
    key, after = await signed()
    assert key == new != old
    assert await holds(before)
    assert await holds(after)
    assert (await keys("revoke", new, "--reason", "leaked"))["key"] not in {None, new, old}
    assert "no signing key" in await keys("revoke", "sha256:0")
    listed = {row["kid"]: row for row in (await keys("list"))["keys"]}
    assert listed[new]["revocation_reason"] == "leaked"
    async with asyncio.timeout(20):
        while await holds(after):  # an api process looks at the keys every few seconds
            await asyncio.sleep(0.2)
    assert await holds(before)
