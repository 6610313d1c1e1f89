"""The login that is kept on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from vitrine.config import DEFAULT_URL, Config, config_path, load_config, save_config
from vitrine.errors import ClientError


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"VITRINE_CONFIG_DIR": str(tmp_path / "config")}


def test_nobody_is_logged_in_at_first(environment: dict[str, str]) -> None:
    assert load_config(environment) == Config(DEFAULT_URL, None)


def test_a_login_is_kept_for_its_owner_alone(environment: dict[str, str]) -> None:
    path = save_config(Config("http://lab.test/", "vt_1"), environment)
    assert load_config(environment) == Config("http://lab.test", "vt_1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]


def test_other_keys_of_the_file_stay(environment: dict[str, str]) -> None:
    path = config_path(environment)
    path.parent.mkdir(parents=True)
    path.write_text('{"url": "http://old.test", "theme": "dark"}')
    save_config(Config("http://new.test", "vt_2"), environment)
    assert json.loads(path.read_text()) == {"url": "http://new.test", "theme": "dark", "token": "vt_2"}


def test_the_environment_comes_first(environment: dict[str, str]) -> None:
    save_config(Config("http://lab.test", "vt_1"), environment)
    changed = environment | {"VITRINE_URL": "http://other.test", "VITRINE_TOKEN": "vt_other"}
    assert load_config(changed) == Config("http://other.test", "vt_other")


def test_a_token_never_goes_to_another_platform(environment: dict[str, str]) -> None:
    save_config(Config("http://lab.test", "vt_1"), environment)
    assert load_config(environment | {"VITRINE_URL": "http://other.test"}).token is None
    assert load_config(environment | {"VITRINE_URL": "http://lab.test/"}).token == "vt_1"


def test_a_home_directory_is_the_default(tmp_path: Path) -> None:
    assert config_path({"HOME": str(tmp_path)}) == tmp_path / ".config/vitrine/config.json"


@pytest.mark.parametrize("content", ["{", "\udcff"])
def test_a_damaged_file_says_what_to_do(environment: dict[str, str], content: str) -> None:
    path = config_path(environment)
    path.parent.mkdir(parents=True)
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ClientError, match=r"config\.json cannot be read") as raised:
        load_config(environment)
    assert "vitrine login" in raised.value.advice
