"""The five services as forks of the supervisor: what they are told, and what they share.

A service alone is 65-80 MB, most of it the same imported libraries. The supervisor imports those once;
each service is a fork that goes on from there, so the pages of the libraries exist once. The supervisor
stays single-threaded and opens no connection pool, which is what makes forking it sound. Where forking is
not (macOS), services are processes of their own and cost their full size.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine.stack.processes import LINUX, Program
from vitrine.stack.settings import StackSettings
from vitrine.stack.state import Secrets
from vitrine_common.indexes import uv_environment

log = logging.getLogger(__name__)

# What at least two services import, largest first (measured with benchmarks/footprint.py). Modules that
# open sockets or start threads at import have no place here.
SHARED_MODULES = (
    *("pydantic", "pydantic_settings", "yaml", "asyncio", "uvloop", "httpx", "psutil"),
    *("nats", "nats.js", "faststream", "faststream.nats", "faststream.nats.opentelemetry"),
    *("motor.motor_asyncio", "minio", "concurrent.futures.thread"),
    *("opentelemetry.sdk.trace.export", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
    *("vitrine_common.service", "vitrine_common.messages", "vitrine_common.documents", "vitrine_common.spec"),
)
# Read by the C library and by Python before a service could set them: part of the supervisor's own start.
MEMORY_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}


@dataclass(frozen=True)
class Addresses:
    """Where the servers and the api answer."""

    nats_url: str
    mongo_url: str
    s3_endpoint: str
    api_host: str
    api_port: int

    @property
    def api_url(self) -> str:
        """The address that people open."""
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        shown = "127.0.0.1" if self.api_host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        return f"http://{shown}:{self.api_port}"


def preload(modules: Sequence[str] = SHARED_MODULES) -> None:
    """Import what services share and set it apart from the garbage collector, which would unshare it."""
    gc.disable()
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            log.warning("%s is not shared between services: %s", name, error)
    gc.collect()
    gc.freeze()


METRICS_ORDER = ("api", "builder", "runner", "trainer", "monitor")


def service_environment(
    name: str, settings: StackSettings, addresses: Addresses, secrets: Secrets, base: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of service `name`.

    What the operator set in `base` for a service (`VITRINE_RUNNER_…`) stays, but for what the stack alone
    knows: addresses, keys and folders.
    """
    data = settings.data_dir
    environment = {**base, **MEMORY_ENVIRONMENT}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.setdefault("VITRINE_MONGO_DATABASE", "vitrine")
    environment.setdefault("VITRINE_S3_BUCKET", "vitrine")
    environment.setdefault("VITRINE_S3_REGION", "us-east-1")
    environment.setdefault("VITRINE_S3_PUBLIC_ENDPOINT", addresses.s3_endpoint)
    if settings.given.s3_endpoint is None:
        environment["VITRINE_S3_ACCESS_KEY"] = secrets.s3_access_key
        environment["VITRINE_S3_SECRET_KEY"] = secrets.s3_secret_key
    environment |= {
        "VITRINE_NATS_URL": addresses.nats_url,
        "VITRINE_MONGO_URL": addresses.mongo_url,
        "VITRINE_S3_ENDPOINT": addresses.s3_endpoint,
        "VITRINE_ENVIRONMENTS_DIR": str(data / "environments"),
        "VITRINE_SHARED_DIR": str(data / "shared"),
        "VITRINE_API_HOST": addresses.api_host,
        "VITRINE_API_PORT": str(addresses.api_port),
    }
    environment.setdefault("VITRINE_API_PUBLIC_URL", addresses.api_url)
    if base.get("VITRINE_METRICS_PORT", "").isdecimal():  # one machine, so each service needs one of its own
        port = int(base["VITRINE_METRICS_PORT"]) + METRICS_ORDER.index(name)
        environment["VITRINE_METRICS_PORT"] = str(port)
    if name == "api":
        environment.setdefault("VITRINE_API_SECRET_KEY", secrets.api_secret_key)
        environment.setdefault("VITRINE_API_MAIL_DIR", str(data / "mails"))
        environment.setdefault("VITRINE_API_SIGNING_KEY_FILE", str(data / "keys" / "signing-key.pem"))
        environment.setdefault("VITRINE_API_TOMBSTONE_FILE", str(data / "tombstones" / "deleted.jsonl"))
        environment["VITRINE_API_STATE_DIR"] = str(data / "api")
    if name in {"runner", "trainer"}:
        environment[f"VITRINE_{name.upper()}_STATE_DIR"] = str(data / name)
        environment[f"VITRINE_{name.upper()}_ENGINE"] = settings.engine
    if name == "builder" and settings.engine == "docker":
        environment.setdefault("VITRINE_BUILDER_IMAGES", "docker")
    if name == "builder":
        environment |= uv_environment(base)
    return environment


def service_program(name: str, settings: StackSettings, environment: Mapping[str, str]) -> Program:
    """Return how service `name` is started."""
    module = f"{settings.package_prefix}{name}"

    def call() -> None:
        importlib.import_module(f"{module}.app").main()

    fork = LINUX if settings.fork is None else settings.fork
    return Program(
        name=f"vitrine-{name}",
        argv=[sys.executable, "-P", "-m", module],
        environment=environment,
        directory=settings.data_dir,
        log=settings.log_dir / f"{name}.log",
        call=call if fork else None,
    )


def make_folders(data_dir: Path) -> None:
    """Create what the services expect to find."""
    for name in ("environments", "runner", "trainer", "logs"):
        (data_dir / name).mkdir(parents=True, exist_ok=True, mode=0o700)


_BASE_IMAGES = ("VITRINE_RUNNER_BASE_IMAGE", "VITRINE_TRAINER_BASE_IMAGE")


def with_base_image(settings: StackSettings, base: Mapping[str, str]) -> dict[str, str]:
    """Return the inherited variables and the image in which models run that have none of their own.

    It is made here from Debian's packages, once, and images of environments stand on it as well. Where it
    cannot be made, the one that the services take by default is fetched from its registry.
    """
    if any(name in base for name in _BASE_IMAGES):
        return dict(base)
    environments = settings.data_dir / "environments"
    command = [sys.executable, "-P", "-m", f"{settings.package_prefix}builder.base", "--json"]
    log.info("making the base system of Docker images; once, in a minute or two")
    made = subprocess.run(
        [*command, "--environments", str(environments), "--docker", _BASE_REPOSITORY],
        env={**base, **uv_environment(base)},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        log.warning("no base system could be made here: %s", made.stderr.strip()[-500:])
        return dict(base)
    tag = json.loads(made.stdout)["digest"].removeprefix("sha256:")[:12]
    return {**base, **dict.fromkeys(_BASE_IMAGES, f"{_BASE_REPOSITORY}:{tag}")}


_BASE_REPOSITORY = "vitrine/base"


def base_environment() -> dict[str, str]:
    """Return what services inherit from whoever called `vitrine up`."""
    return dict(os.environ)
