"""Vitrine's Python client, command line and embedded stack.

    from pathlib import Path
    from vitrine import Client

    with Client() as client:
        version = client.built(client.push("examples/digits"))
        run = client.run(version.reference, image=Path("two.png"))

Names are loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrine.client import Client
    from vitrine.config import Config, load_config, save_config
    from vitrine.errors import BadBundle, ClientError, Gone, LoginNeeded, NotFound, Refused, Unreachable
    from vitrine.results import Link, Model, Output, Run, Trial, Version

_HOMES = {
    "Client": "client",
    **dict.fromkeys(("Config", "load_config", "save_config"), "config"),
    **dict.fromkeys(
        ("BadBundle", "ClientError", "Gone", "LoginNeeded", "NotFound", "Refused", "Unreachable"), "errors"
    ),
    **dict.fromkeys(("Link", "Model", "Output", "Run", "Trial", "Version"), "results"),
}

__all__ = [
    "BadBundle",
    "Client",
    "ClientError",
    "Config",
    "Gone",
    "Link",
    "LoginNeeded",
    "Model",
    "NotFound",
    "Output",
    "Refused",
    "Run",
    "Trial",
    "Unreachable",
    "Version",
    "load_config",
    "save_config",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"vitrine.{home}"), name)
