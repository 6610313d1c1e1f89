"""Pip's settings as uv's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrine_common.indexes import pip_settings, uv_environment


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose configuration files are all below the test's directory."""
    return {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "XDG_CONFIG_HOME": str(tmp_path / "c"),
    }


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_variables_and_sections_win_as_in_pip(home: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "xdg/pip/pip.conf", "[global]\nindex-url = machine\ntimeout = 1\nproxy = p\n")
    _write(tmp_path / "c/pip/pip.conf", "[global]\nindex-url = user\n[install]\ntimeout = 2\n")
    _write(tmp_path / "venv/pip.conf", "[global]\ntimeout = 3\nindex_url = venv\n")
    prefix = str(tmp_path / "venv")
    found = pip_settings(home, prefix)
    assert (found["index-url"], found["timeout"], found["proxy"]) == ("venv", "2", "p")
    own = _write(tmp_path / "own.conf", "[global]\nindex-url = own\n")
    assert pip_settings(home | {"PIP_CONFIG_FILE": str(own)}, prefix)["index-url"] == "own"
    assert pip_settings(home | {"PIP_INDEX_URL": "env"}, prefix)["index-url"] == "env"
    assert pip_settings({"PIP_CONFIG_FILE": "/dev/null"}, prefix).get("index-url") is None


def test_a_file_that_pip_could_not_read_is_left_out(home: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "c/pip/pip.conf", "no section\n")
    _write(tmp_path / "pip.conf", "[global]\nindex-url = https://mirror.example\n")
    assert uv_environment(home, str(tmp_path))["UV_DEFAULT_INDEX"] == "https://mirror.example"


def test_every_setting_has_its_variable(home: dict[str, str], tmp_path: Path) -> None:
    certificates = _write(tmp_path / "ca.pem", "")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    environment = home | {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": f"{wheels} {tmp_path}/gone https://wheels.example/",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example\n https://b.example",
        "PIP_TRUSTED_HOST": "mirror.example a.example",
        "PIP_CERT": str(certificates),
        "PIP_DEFAULT_TIMEOUT": "180",
    }
    assert uv_environment(environment) == {
        "UV_FIND_LINKS": f"{wheels},https://wheels.example/",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "mirror.example a.example",
        "SSL_CERT_FILE": str(certificates),
        "UV_HTTP_TIMEOUT": "180",
    }


def test_what_is_uvs_own_stays(home: dict[str, str]) -> None:
    environment = home | {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "pips",
        "UV_DEFAULT_INDEX": "uvs",
        "HTTPS_PROXY": "proxy",
    }
    assert uv_environment(environment) == {"UV_DEFAULT_INDEX": "uvs", "HTTPS_PROXY": "proxy"}


def test_no_index_means_offline(home: dict[str, str], tmp_path: Path) -> None:
    environment = home | {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "true",
        "PIP_INDEX_URL": "x",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    assert uv_environment(environment) == {"UV_FIND_LINKS": str(tmp_path), "UV_OFFLINE": "1"}
