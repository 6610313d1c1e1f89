"""What services are told, where the login goes, which port is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitrine.stack import account, ports, services
from vitrine.stack.account import Account
from vitrine.stack.errors import StackError
from vitrine.stack.services import Addresses, service_environment
from vitrine.stack.settings import Given, StackSettings, default_data_dir
from vitrine.stack.state import Secrets

ADDRESSES = Addresses("nats://n", "mongodb://m", "http://s3:9", "127.0.0.1", 8123)
MINE = Account(email="a@b.example", password="p", token="t", url="http://127.0.0.1:1")


def _environment(name: str, base: dict[str, str] | None = None, **given: str) -> dict[str, str]:
    settings = StackSettings(data_dir=Path("/data"), given=Given(**given))
    return service_environment(name, settings, ADDRESSES, Secrets(), base or {})


def test_data_directory_is_the_given_one_or_below_home() -> None:
    assert default_data_dir({"VITRINE_DATA_DIR": "/d", "HOME": "/h"}) == Path("/d")
    assert default_data_dir({"HOME": "/h"}) == Path("/h/.local/share/vitrine")


def test_own_settings_of_a_service_stay() -> None:
    seen = _environment("runner", {"VITRINE_RUNNER_CELLS": "3", "VITRINE_MONGO_DATABASE": "other"})
    assert seen["VITRINE_RUNNER_CELLS"] == "3"
    assert seen["VITRINE_MONGO_DATABASE"] == "other"


def test_only_the_api_is_told_where_the_signing_key_is() -> None:
    name = "VITRINE_API_SIGNING_KEY_FILE"
    assert _environment("api")[name] == "/data/keys/signing-key.pem"
    assert _environment("api", {name: "/mine.pem"})[name] == "/mine.pem"
    assert not [other for other in ("runner", "trainer", "builder", "monitor") if name in _environment(other)]


def test_the_api_remembers_deletions_outside_of_the_servers_folders() -> None:
    name = "VITRINE_API_TOMBSTONE_FILE"
    assert _environment("api")[name] == "/data/tombstones/deleted.jsonl"
    assert _environment("api", {name: "/mine.jsonl"})[name] == "/mine.jsonl"
    assert name not in _environment("runner")


def test_keys_of_a_given_s3_server_are_not_replaced() -> None:
    base = {"VITRINE_S3_ACCESS_KEY": "mine"}
    assert _environment("api", base, s3_endpoint="http://s3:9")["VITRINE_S3_ACCESS_KEY"] == "mine"
    assert _environment("api", base)["VITRINE_S3_ACCESS_KEY"] != "mine"


def test_only_the_builder_is_told_where_packages_are(tmp_path: Path) -> None:
    base = {"PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    assert _environment("builder", base)["UV_FIND_LINKS"] == str(tmp_path)
    assert "UV_FIND_LINKS" not in _environment("runner", base)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")],
)
def test_address_that_people_open(host: str, url: str) -> None:
    assert Addresses("", "", "", host, 1).api_url == url


def test_modules_that_are_missing_are_not_shared(caplog: pytest.LogCaptureFixture) -> None:
    import gc

    try:
        services.preload(["json", "no_such_module_at_all"])
    finally:
        gc.unfreeze()
        gc.enable()
    assert "no_such_module_at_all is not shared" in caplog.text


def test_login_is_kept_for_this_stack(tmp_path: Path) -> None:
    path = tmp_path / "config" / "config.json"
    assert account.log_in(MINE, "http://127.0.0.1:1", tmp_path, path)
    # The next start has another port.
    assert account.log_in(MINE, "http://127.0.0.1:2", tmp_path, path)
    assert json.loads(path.read_text()) == {"url": "http://127.0.0.1:2", "token": "t"}
    moved = account.load_account(tmp_path)
    assert moved is not None
    assert moved.url == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    ("saved", "answers", "replaced"),
    [
        ("https://vitrine.institute.example", False, False),
        ("http://127.0.0.1:4999", True, False),
        ("http://127.0.0.1:4999", False, True),
    ],
)
def test_login_elsewhere_stays_unless_it_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str, answers: bool, replaced: bool
) -> None:
    monkeypatch.setattr(account, "tcp_answers", lambda _host, _port: answers)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"url": saved, "token": "theirs", "colour": "blue"}))
    assert account.log_in(MINE, MINE.url, tmp_path, path) is replaced
    kept = json.loads(path.read_text())
    assert kept["token"] == ("t" if replaced else "theirs")
    assert kept["colour"] == "blue"


def test_damaged_login_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    assert not account.log_in(MINE, MINE.url, tmp_path, path)
    assert path.read_text() == "{"


def test_ports_prefer_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {4000}
    monkeypatch.setattr(ports, "_bind_fault", lambda _host, port: "is in use" if port in taken else None)
    assert ports.free_port("127.0.0.1", preferred=4001) == 4001
    assert ports.free_port("127.0.0.1", preferred=4000) != 4000
    with pytest.raises(StackError, match=r"Port 4000 on 127\.0\.0\.1 is in use"):
        ports.require_free("127.0.0.1", 4000)
