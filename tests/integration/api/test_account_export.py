"""The export has what an account owns, no secrets, and nothing of its visitors."""

from __future__ import annotations

import io
import json
import zipfile

from api_instance import Instance


async def test_the_archive_has_ones_own_things_and_neither_secrets_nor_visitors(api: Instance) -> None:
    account, other = await api.account(), await api.account()
    version = await api.ready(account)
    await api.ready(other)
    link = await account.share(version["reference"], blind=True)
    said = {"inputs": {"text": "said by a visitor"}}
    assert (await api.client().post(f"/api/v1/links/{link['token']}/runs", json=said)).status_code == 202
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    await account.client.post(path, json={"inputs": {"text": "said by the owner"}})
    answer = await account.client.get("/api/v1/account/export")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert [item["id"] for item in json.loads(texts["versions.json"])] == [version["id"]]
    assert "said by the owner" in texts["run_requests.json"]
    everything = "".join(texts.values())
    for secret in ("said by a visitor", "_hash", "argon2", other.name, link["token"], "runs_used"):
        assert secret not in everything
