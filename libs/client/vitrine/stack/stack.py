"""One stack from start to end: lock, servers, services, first account, until it is asked to stop."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel

from vitrine.stack import servers, services
from vitrine.stack.account import Account, load_account, log_in, make_account
from vitrine.stack.docker import require_docker
from vitrine.stack.errors import StackError
from vitrine.stack.ports import free_port, require_free
from vitrine.stack.services import Addresses
from vitrine.stack.settings import StackSettings
from vitrine.stack.state import (
    DataLock,
    PartState,
    Secrets,
    StackState,
    created_at,
    kill_leftovers,
    load_secrets,
    read_state,
)
from vitrine.stack.supervisor import Part, StopRequested, Supervisor

log = logging.getLogger(__name__)

_MAKERS = {"nats": servers.nats_server, "mongo": servers.mongo_server, "s3": servers.s3_server}


class Announcement(BaseModel):
    """What `vitrine up` tells once everything is healthy. The password is there at the first start only."""

    url: str
    data_dir: str
    pid: int
    email: str | None = None
    password: str | None = None
    logged_in: bool = False
    warning: str | None = None


@dataclasses.dataclass
class _Plan:
    """What a start has found out before the first process runs."""

    secrets: Secrets
    addresses: Addresses
    own: dict[str, servers.Server]
    state: StackState


def run_stack(settings: StackSettings, announce: Callable[[Announcement], None]) -> None:
    """Run the stack of `settings.data_dir` until SIGINT, SIGTERM or SIGHUP; nothing is left running.

    Raises StackError when it cannot start, AlreadyRunningError when one is running there.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DataLock(settings.data_dir)
    lock.acquire()
    try:
        plan = _plan(settings)
        supervisor = Supervisor(settings, plan.state)
        with supervisor.signals():
            try:
                _bring_up(supervisor, plan)
                announce(_announcement(supervisor, plan))
                supervisor.run()
            except StopRequested:
                log.info("asked to stop while starting")
            finally:
                supervisor.stop()
    finally:
        lock.release()


def _plan(settings: StackSettings) -> _Plan:
    before = read_state(settings.data_dir)
    leftovers = kill_leftovers(before)
    if leftovers:
        log.warning("an earlier stack was killed; ended its processes %s", leftovers)
    services.make_folders(settings.data_dir)
    servers.forget_stale_files(settings)
    secrets = load_secrets(settings.data_dir)
    ports = before.ports if before else {}
    if settings.port is not None:
        require_free(settings.host, settings.port)
    _require_given(settings)
    if settings.engine == "docker":
        require_docker()
    given = settings.given
    urls = {"nats": given.nats_url, "mongo": given.mongo_url, "s3": given.s3_endpoint}
    own: dict[str, servers.Server] = {}
    chosen: dict[str, int] = {}
    for name, url in urls.items():
        if url is None:
            chosen[name] = free_port(servers.HOST, preferred=ports.get(name))
            own[name] = _MAKERS[name](settings, secrets, chosen[name])
            urls[name] = own[name].url
    chosen["api"] = settings.port or free_port(settings.host, preferred=ports.get("api"))
    addresses = Addresses(
        nats_url=urls["nats"] or "",
        mongo_url=urls["mongo"] or "",
        s3_endpoint=urls["s3"] or "",
        api_host=settings.host,
        api_port=chosen["api"],
    )
    return _Plan(secrets, addresses, own, _first_state(addresses, chosen))


def _first_state(addresses: Addresses, ports: dict[str, int]) -> StackState:
    return StackState(
        pid=os.getpid(),
        created=created_at(os.getpid()),
        started_at=datetime.now(UTC).isoformat(),
        url=addresses.api_url,
        nats_url=addresses.nats_url,
        mongo_url=addresses.mongo_url,
        s3_endpoint=addresses.s3_endpoint,
        ports=ports,
    )


def _require_given(settings: StackSettings) -> None:
    """Raise StackError, naming the variable, when a given server cannot be used."""
    if not any(dataclasses.astuple(settings.given)):
        return
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "vitrine.stack.given"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise StackError(asked.stdout.strip() or asked.stderr.strip())


def _bring_up(supervisor: Supervisor, plan: _Plan) -> None:
    settings = supervisor.settings
    for name, server in plan.own.items():
        shown = PartState(kind="server", log=server.program.log.name)
        supervisor.start(Part(name=name, program=server.program, shown=shown, probe=server.healthy))
    # The servers start while this process imports.
    services.preload()
    supervisor.wait_healthy(list(plan.own))
    base = services.base_environment()
    if settings.engine == "docker":
        base = services.with_base_image(settings, base)
    for name in settings.services:
        environment = services.service_environment(name, settings, plan.addresses, plan.secrets, base)
        program = services.service_program(name, settings, environment)
        shown = PartState(kind="service", log=program.log.name)
        supervisor.start(Part(name=name, program=program, shown=shown))
    supervisor.wait_healthy(settings.services)
    supervisor.announce_healthy()


def _announcement(supervisor: Supervisor, plan: _Plan) -> Announcement:
    settings, url = supervisor.settings, plan.addresses.api_url
    said = Announcement(url=url, data_dir=str(settings.data_dir), pid=os.getpid())
    if settings.first_account is None:
        return said
    account = load_account(settings.data_dir)
    fresh = account is None
    try:
        account = account or _first_account(supervisor, plan, settings.first_account)
    except StackError as error:
        # The platform works without it, and the next start tries again.
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return said.model_copy(update={"warning": str(error)})
    return said.model_copy(
        update={
            "email": account.email,
            "password": account.password if fresh else None,
            "logged_in": log_in(account, url, settings.data_dir),
        }
    )


def _first_account(supervisor: Supervisor, plan: _Plan, module: str) -> Account:
    settings = supervisor.settings
    environment = services.service_environment(
        "api", settings, plan.addresses, plan.secrets, services.base_environment()
    )
    return make_account(module, settings.email, plan.addresses.api_url, settings.data_dir, environment)
