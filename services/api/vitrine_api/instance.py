"""How the instance is: its processes, its queues, what it stores, and what it was told to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from nats.errors import TimeoutError as NatsTimeout
from pydantic import BaseModel, SecretStr, ValidationError

from vitrine_api.health import SERVICES, Health, Pulse
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Repository
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import utcnow
from vitrine_common.messages.subjects import COMMANDS, EVENTS, STATUS
from vitrine_common.service import Platform

ANSWER_SECONDS = 0.3
"""How long processes have to tell how they are."""
FORGET_SECONDS = 3600.0
"""For so long a process that is gone is still told of."""
MAX_BLOBS = 50_000
_STORAGE_SECONDS = 60.0
_MASK = "••••••"


class ProcessReport(BaseModel):
    """A process of a service, as it tells of itself; `report` holds what keeps its sandboxes apart."""

    service: str
    holder: str
    version: str
    started_at: datetime
    report: dict[str, Any] = {}
    heard_at: datetime | None = None
    answers: bool = True


class InstanceHealth(BaseModel):
    """Which processes and servers answer. `missing` are services of which no process does."""

    processes: list[ProcessReport]
    servers: dict[str, Pulse]
    missing: list[str]

    @property
    def well(self) -> bool:
        """Whether every service and server answers."""
        return not self.missing and all(pulse.ok for pulse in self.servers.values())


class Queue(BaseModel):
    """What waits for one kind of work: messages not handed out yet, handed out, and handed out again."""

    stream: str
    name: str
    subject: str
    waiting: int
    working: int
    again: int


class StorageUse(BaseModel):
    """What is stored. `counted_all` is false where there are more blobs than were counted."""

    blobs: int
    blob_bytes: int
    counted_all: bool
    environments: int
    environment_bytes: int
    disk_total: int | None
    disk_free: int | None


class SettingInEffect(BaseModel):
    """A setting as this process uses it; secrets are masked."""

    name: str
    value: str
    is_default: bool
    description: str


@dataclass
class _Cached:
    at: float = -1e9
    value: StorageUse | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Instance:
    """Looks at the instance as a whole; operators only.

    Args:
        platform: the connections.
        repository: what is counted.
        health: whether the servers answer.
        settings: the api's.
    """

    def __init__(
        self, platform: Platform, repository: Repository, health: Health, settings: ApiSettings
    ) -> None:
        self._platform = platform
        self._repository = repository
        self._health = health
        self._settings = settings
        self._heard: dict[str, ProcessReport] = {}
        self._storage = _Cached()

    async def health(self, member: Member) -> InstanceHealth:
        """Ask every process and server how it is."""
        require(member, Action.OPERATE, None)
        processes, servers = await asyncio.gather(self._processes(), self._health.servers())
        answering = {process.service for process in processes if process.answers}
        missing = [service for service in SERVICES if service not in answering]
        return InstanceHealth(processes=processes, servers=servers, missing=missing)

    async def _processes(self) -> list[ProcessReport]:
        """Return who answers within `ANSWER_SECONDS`, and who did so lately but does not now."""
        now = utcnow()
        answers = {report.holder: report for report in await self._ask()}
        self._heard |= answers
        self._heard = {
            holder: report if holder in answers else replace_answers(report)
            for holder, report in self._heard.items()
            if report.heard_at is not None and (now - report.heard_at).total_seconds() < FORGET_SECONDS
        }
        return sorted(
            self._heard.values(), key=lambda report: (SERVICES.index(report.service), report.holder)
        )

    async def _ask(self) -> list[ProcessReport]:
        client = self._platform.bus.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        found: list[ProcessReport] = []
        try:
            await client.publish(STATUS, b"", reply=inbox)
            end = time.monotonic() + ANSWER_SECONDS
            while (left := end - time.monotonic()) > 0:
                try:
                    answer = await subscription.next_msg(timeout=left)
                    report = ProcessReport.model_validate({**json.loads(answer.data), "heard_at": utcnow()})
                except NatsTimeout:
                    break
                except (ValidationError, ValueError, TypeError):
                    continue  # another release's process; it is none that can be told of
                if report.service in SERVICES:
                    found.append(report)
        finally:
            await subscription.unsubscribe()
        return found

    async def queues(self, member: Member) -> list[Queue]:
        """Return what waits, commands first."""
        require(member, Action.OPERATE, None)
        jetstream = self._platform.bus.client.jetstream()
        consumers = {stream: await jetstream.consumers_info(stream) for stream in (COMMANDS, EVENTS)}
        found = [
            Queue(
                stream="commands" if stream == COMMANDS else "events",
                name=consumer.name,
                subject=consumer.config.filter_subject or "",
                waiting=consumer.num_pending or 0,
                working=consumer.num_ack_pending or 0,
                again=consumer.num_redelivered or 0,
            )
            for stream, listed in consumers.items()
            for consumer in listed
        ]
        return sorted(found, key=lambda queue: (queue.stream, -queue.waiting, queue.name))

    async def storage(self, member: Member) -> StorageUse:
        """Return what is stored; counted anew at most once a minute."""
        require(member, Action.OPERATE, None)
        async with self._storage.lock:
            if self._storage.value is None or time.monotonic() - self._storage.at > _STORAGE_SECONDS:
                self._storage.value = await self._count()
                self._storage.at = time.monotonic()
            return self._storage.value

    async def _count(self) -> StorageUse:
        (blobs, size, all_), (environments, environment_bytes) = await asyncio.gather(
            self._platform.blobs.usage(MAX_BLOBS), self._repository.bundles.environments_use()
        )
        disk = await asyncio.to_thread(self._disk)
        return StorageUse(
            blobs=blobs,
            blob_bytes=size,
            counted_all=all_,
            environments=environments,
            environment_bytes=environment_bytes,
            disk_total=disk[0] if disk else None,
            disk_free=disk[1] if disk else None,
        )

    def _disk(self) -> tuple[int, int] | None:
        """Return the size of, and the room on, the disk of the environments, where this process sees it."""
        try:
            usage = shutil.disk_usage(self._platform.settings.environments_dir)
        except OSError:
            return None
        return usage.total, usage.free

    def settings(self, member: Member) -> list[SettingInEffect]:
        """Return the settings that this process uses."""
        require(member, Action.OPERATE, None)
        platform = self._platform.settings
        parts: tuple[BaseModel, ...] = (
            self._settings,
            platform.nats,
            platform.mongo,
            platform.s3,
            self._platform.work,
        )
        return [one for part in parts for one in settings_in_effect(part)]


def replace_answers(report: ProcessReport) -> ProcessReport:
    """Return the report of a process that does not answer any more."""
    return report.model_copy(update={"answers": False})


def settings_in_effect(settings: BaseModel) -> list[SettingInEffect]:
    """Return the fields of `settings` under the names of their environment variables, secrets masked."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    return [
        SettingInEffect(
            name=f"{prefix}{name}".upper(),
            value=_shown(getattr(settings, name)),
            is_default=name not in settings.model_fields_set,
            description=field_.description or "",
        )
        for name, field_ in type(settings).model_fields.items()
    ]


def _shown(value: object) -> str:
    match value:
        case SecretStr():
            return _MASK if value.get_secret_value() else ""
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Mapping() | list() | tuple():
            return json.dumps(value, default=str)
    text = str(value)
    # Addresses of servers may carry a password.
    parts = urlsplit(text) if "://" in text else None
    if parts is not None and "@" in parts.netloc:
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{_MASK}@{host}").geturl()
    return text
