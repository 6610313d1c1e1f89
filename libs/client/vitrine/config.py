"""Where the command line is logged in: `config.json`, below `VITRINE_CONFIG_DIR` or `~/.config/vitrine`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.errors import ClientError

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Config:
    """Which platform is called, and with which token (None: not logged in)."""

    url: str = DEFAULT_URL
    token: str | None = None


def config_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of the command line's own files."""
    given = environment.get("VITRINE_CONFIG_DIR")
    if given:
        return Path(given)
    return Path(environment.get("HOME") or Path.home()) / ".config/vitrine"


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that keeps the login."""
    return config_dir(environment) / "config.json"


def load_config(environment: Mapping[str, str] = os.environ) -> Config:
    """Return the login: `VITRINE_URL` and `VITRINE_TOKEN` over the file over the default.

    A token of the file is used only with the file's own URL: it never goes to another platform. Raises
    ClientError when the file is damaged.
    """
    saved = read_saved(config_path(environment))
    saved_url = _text(saved, "url")
    url = (environment.get("VITRINE_URL") or saved_url or DEFAULT_URL).rstrip("/")
    token = environment.get("VITRINE_TOKEN")
    if not token and (saved_url is None or url == saved_url.rstrip("/")):
        token = _text(saved, "token")
    return Config(url, token or None)


def save_config(config: Config, environment: Mapping[str, str] = os.environ) -> Path:
    """Keep the login, readable by its owner only; other keys of the file stay. Returns the file's path."""
    path = config_path(environment)
    write_private(path, {**read_saved(path), "url": config.url.rstrip("/"), "token": config.token})
    return path


def read_saved(path: Path) -> dict[str, Any]:
    """Return the content of a private file, empty when there is none. Raises ClientError when damaged."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}"
        raise ClientError(message, advice="Remove the file and log in again: vitrine login") from error
    return content if isinstance(content, dict) else {}


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by `content` as JSON, atomically, mode 0600 in a directory of mode 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _text(saved: Mapping[str, Any], key: str) -> str | None:
    value = saved.get(key)
    return value if isinstance(value, str) and value else None
