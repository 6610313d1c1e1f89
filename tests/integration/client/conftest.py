"""The api that the command line talks to here, and the command itself as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_instance import Account, Instance, api

__all__ = ["api"]
COMMAND = Path(sys.executable).with_name("vitrine")


@dataclass(frozen=True)
class Said:
    """What the command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Type = Callable[..., Awaitable[Said]]


@pytest.fixture
async def author(api: Instance) -> Account:
    """Somebody new with an account."""
    return await api.account()


@pytest.fixture
def command(api: Instance, author: Account, tmp_path: Path) -> Type:
    """Runs `vitrine WORDS` as the author, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each command would compile the libraries again
    environment |= {
        "VITRINE_CONFIG_DIR": str(tmp_path / "config"),
        "VITRINE_URL": api.url,
        "VITRINE_TOKEN": author.token,
    }

    async def typed(*words: str, stdin: str = "", **changes: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | changes,
            cwd=tmp_path,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    return typed
