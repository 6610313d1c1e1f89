"""`vitrine diff`, `vitrine account` and `vitrine operator` against the real api."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from api_instance import FILES, SPEC, Account, Instance, manifest


async def test_versions_are_compared(api: Instance, author: Account, command: Any) -> None:
    for files in (FILES, {**FILES, "echo.py": b"print('bye')\n"}):
        await author.upload(files)
        body = {"manifest": manifest(SPEC, files), "model": "two"}
        assert (await author.client.post("/api/v1/versions", json=body)).status_code == 201
    one, two = f"{author.name}/two@1", f"{author.name}/two@2"
    said = await command("diff", one, two)
    assert said.status == 0
    assert said.out.splitlines() == [
        "M echo.py  15 B → 13 B",
        "  @@ -1 +1 @@",
        "  -print('hello')",
        "  +print('bye')",
    ]
    short = await command("diff", one, two, "--stat")
    assert short.out == "M echo.py  15 B → 13 B\n"
    same = await command("diff", one, one)
    assert "are the same" in same.out


async def test_dead_letters_are_listed_replayed_and_dropped(api: Instance, command: Any) -> None:
    token = api.operator.token
    ack = await api.platform.bus.client.jetstream().publish("dead.of.nobody", b"x")
    letters = ("operator", "dead-letters")
    listed = await command(*letters, "list", VITRINE_TOKEN=token)
    assert f"{ack.seq}" in listed.out
    assert "unreadable" in listed.out
    refused = await command(*letters, "replay", str(ack.seq), VITRINE_TOKEN=token)
    assert refused.status == 1
    assert "nobody takes `of.nobody`" in refused.err
    dropped = await command(*letters, "drop", str(ack.seq), "--json", VITRINE_TOKEN=token)
    assert dropped.json == {"number": ack.seq, "dropped": True}
    again = await command(*letters, "drop", str(ack.seq), VITRINE_TOKEN=token)
    assert again.status == 1


async def test_health_fails_while_services_are_missing(api: Instance, command: Any) -> None:
    token = api.operator.token
    said = await command("operator", "health", VITRINE_TOKEN=token)
    assert said.status == 1
    assert "runner" in said.out
    assert "missing" in said.out


async def test_others_may_not(api: Instance, author: Account, command: Any) -> None:
    said = await command("operator", "dead-letters", "list")
    assert said.status == 1
    assert "only an operator" in said.err


async def test_an_account_is_shown_with_its_quotas_exported_and_deleted(
    api: Instance, author: Account, command: Any, tmp_path: Path
) -> None:
    await author.push(name="mine")
    who = await command("whoami")
    assert "Runs today: 0 of 5000" in who.out.splitlines()
    assert [quota["name"] for quota in (await command("whoami", "--json")).json["quotas"]] == [
        "max_storage_bytes",
        "max_runs_per_day",
        "max_build_seconds_per_day",
    ]
    file = tmp_path / "all.zip"
    said = await command("account", "export", "-o", str(file), "--json")
    assert said.json == {"path": str(file), "bytes": file.stat().st_size}
    with zipfile.ZipFile(file) as archive:
        assert [one["name"] for one in json.loads(archive.read("models.json"))] == ["mine"]
    lost = await command("account", "export", "-o", str(tmp_path / "missing" / "all.zip"))
    assert lost.status == 1
    assert "cannot be written" in lost.err

    nobody = await command("account", "delete")
    assert (nobody.status, "no user name was typed" in nobody.err) == (2, True)
    wrong = await command("account", "delete", stdin=f"{author.name}\nnot the password\n")
    assert wrong.status == 1
    assert (await command("whoami")).status == 0
    gone = await command("account", "delete", "--json", stdin=f"{author.name}\n{author.password}\n")
    assert gone.json == {"deleted": author.name}
    assert (await command("whoami")).status == 1
