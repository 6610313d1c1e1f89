"""Where packages come from: pip's settings as uv's, which reads none of pip's configuration.

Standard library only, because `infra/scripts/setup.sh` runs this file before anything is installed:
`python3 indexes.py` prints the variables as shell assignments.
"""

from __future__ import annotations

import configparser
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_TRUE = {"1", "true", "yes", "on"}


def pip_settings(environment: Mapping[str, str], prefix: str = sys.prefix) -> dict[str, str]:
    """Return pip's settings for `pip install`, long option names to values, as pip would read them.

    Later wins: machine, user, virtual environment (`prefix`) and `PIP_CONFIG_FILE`; the section
    `[install]` over `[global]`; `PIP_*` variables over files. Source: pip's "Configuration" page.
    A file that cannot be read or parsed is left out.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _pip_files(environment, prefix):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for name, known in sections.items():
            if parser.has_section(name):
                known.update({_option(key): value for key, value in parser.items(name)})
    settings = sections["global"] | sections["install"]
    for key, value in environment.items():
        if key.startswith("PIP_") and value:
            settings[_option(key.removeprefix("PIP_"))] = value
    return settings


def uv_environment(environment: Mapping[str, str], prefix: str = sys.prefix) -> dict[str, str]:
    """Return the variables that make uv install from where pip would; add them to uv's environment.

    Variables of `environment` that uv or OpenSSL understand already are kept as they are and returned too.
    With more than one index, uv is told to treat them as one, which is what pip does.
    """
    settings = pip_settings(environment, prefix)
    found: dict[str, str] = {}
    for option, variable, convert in _VARIABLES:
        value = convert(settings.get(option, ""))
        if value:
            found[variable] = value
    if settings.get("no-index", "").lower() in _TRUE:
        found = {key: value for key, value in found.items() if not key.endswith(("_INDEX", "_INDEX_URL"))}
        found["UV_OFFLINE"] = "1"
    if "UV_EXTRA_INDEX_URL" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    found.update({key: environment[key] for key in _PASSED if environment.get(key)})
    return found


def _pip_files(environment: Mapping[str, str], prefix: str) -> Sequence[Path]:
    own = environment.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    home = Path(environment.get("HOME") or Path.home())
    xdg = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    machine = [Path(folder) / "pip/pip.conf" for folder in reversed(xdg.split(":"))]
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    mac = home / "Library/Application Support/pip/pip.conf"
    files = [*machine, Path("/etc/pip.conf"), home / ".pip/pip.conf", user, mac, Path(prefix) / "pip.conf"]
    return [*files, Path(own)] if own else files


def _option(name: str) -> str:
    return name.lower().removeprefix("--").replace("_", "-")


def _as_is(value: str) -> str:
    return value.strip()


def _locations(value: str) -> str:
    """Separate by commas, as uv wants, and drop folders that are not there: uv fails where pip goes on."""
    there = [place for place in value.split() if "://" in place or Path(place).exists()]
    return ",".join(place if "://" in place else str(Path(place).resolve()) for place in there)


def _words(value: str) -> str:
    return " ".join(value.split())


def _file(value: str) -> str:
    return value if value and Path(value).exists() else ""


_VARIABLES: Sequence[tuple[str, str, Callable[[str], str]]] = (
    ("find-links", "UV_FIND_LINKS", _locations),
    ("index-url", "UV_DEFAULT_INDEX", _as_is),
    ("extra-index-url", "UV_EXTRA_INDEX_URL", _words),
    ("trusted-host", "UV_INSECURE_HOST", _words),
    ("timeout", "UV_HTTP_TIMEOUT", _as_is),
    ("default-timeout", "UV_HTTP_TIMEOUT", _as_is),
    ("cert", "SSL_CERT_FILE", _file),
    ("proxy", "ALL_PROXY", _as_is),
)
_PASSED = (
    *("UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"),
    *("UV_INDEX_STRATEGY", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT", "UV_OFFLINE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)


if __name__ == "__main__":
    for name, setting in uv_environment(os.environ).items():
        sys.stdout.write(f"export {name}={shlex.quote(setting)}\n")
