"""What the stack is told: where its data is, which ports and servers, which services."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = ("monitor", "builder", "runner", "trainer", "api")
FIRST_ACCOUNT = "vitrine_api.first_account"


def default_data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `VITRINE_DATA_DIR`, else `~/.local/share/vitrine`."""
    given = environment.get("VITRINE_DATA_DIR")
    return Path(given) if given else Path(environment.get("HOME") or Path.home()) / ".local/share/vitrine"


@dataclass(frozen=True)
class Given:
    """Servers that exist already; None where the stack starts its own."""

    nats_url: str | None = None
    mongo_url: str | None = None
    s3_endpoint: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Given:
        """Read `VITRINE_NATS_URL`, `VITRINE_MONGO_URL` and `VITRINE_S3_ENDPOINT`."""
        return cls(
            nats_url=environment.get("VITRINE_NATS_URL") or None,
            mongo_url=environment.get("VITRINE_MONGO_URL") or None,
            s3_endpoint=environment.get("VITRINE_S3_ENDPOINT") or None,
        )


@dataclass(frozen=True)
class Timing:
    """Seconds that the supervisor waits."""

    start: float = 90.0
    stop_services: float = 20.0
    stop_servers: float = 10.0
    first_backoff: float = 0.1
    longest_backoff: float = 10.0
    steady: float = 10.0
    tick: float = 10.0


@dataclass(frozen=True)
class StackSettings:
    """One stack.

    Attributes:
        port: the api's port; None takes the one of the last start when it is free, else a random one.
        engine: where user code runs: `process`, `docker`, or `auto`, the best that this machine has.
        services: names; each is `<package prefix><name>` with `app.main()`.
        first_account: the module that makes the first account, or None for none.
        fork: whether services are forks of the supervisor; None decides by platform.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int | None = None
    engine: str = "auto"
    email: str = "owner@vitrine.local"
    given: Given = field(default_factory=Given)
    services: Sequence[str] = SERVICES
    package_prefix: str = "vitrine_"
    first_account: str | None = FIRST_ACCOUNT
    fork: bool | None = None
    timing: Timing = field(default_factory=Timing)

    @property
    def log_dir(self) -> Path:
        """Where the logs are."""
        return self.data_dir / "logs"
