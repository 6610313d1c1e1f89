"""The operator's pages, and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from vitrine_api import formats, views
from vitrine_api.dead_letters import DeadLetter
from vitrine_api.instance import InstanceHealth, ProcessReport, Queue, SettingInEffect, StorageUse
from vitrine_api.quotas import NEAR_PERCENT, QuotaUse
from vitrine_api.settings import ApiSettings
from vitrine_api.user_list import FolderMail, ListedUser
from vitrine_common.documents import AuditEntry, User

_SERVERS = {"nats": "NATS", "mongo": "MongoDB", "s3": "S3"}
_ISOLATION = {
    "engine": "Engine",
    "namespaces": "Namespaces",
    "user_ids": "User ids",
    "memory": "Memory",
    "processes": "Processes",
    "cpu": "CPU",
    "seccomp": "System calls",
    "work_directory": "Work directory",
}
_PAGES = {"share link": "/links/{}", "run request": "/runs/{}", "train request": "/trials/{}"}


def operator_view(
    health: InstanceHealth,
    queues: Iterable[Queue],
    storage: StorageUse,
    settings: Iterable[SettingInEffect],
    dead_letters: int,
) -> views.Operator:
    """Return how the instance is."""
    return views.Operator(
        processes=tuple(_process(one) for one in health.processes),
        servers=tuple(
            views.ServerRow(name=_SERVERS.get(name, name), ok=pulse.ok, ms=pulse.ms)
            for name, pulse in health.servers.items()
        ),
        missing=tuple(health.missing),
        queues=tuple(views.QueueRow(**queue.model_dump()) for queue in queues),
        storage=_storage(storage),
        dead_letters=dead_letters,
        settings=tuple(views.SettingRow(**setting.model_dump()) for setting in settings),
    )


def _process(one: ProcessReport) -> views.ProcessRow:
    isolation = one.report.get("isolation")
    known: Mapping[str, object] = isolation if isinstance(isolation, dict) else {}
    facts = [
        views.Fact(title=title, value=_isolation_words(known[key]))
        for key, title in _ISOLATION.items()
        if key in known
    ]
    warnings = known.get("warnings")
    return views.ProcessRow(
        service=one.service,
        holder=one.holder.partition("@")[2],
        version=one.version,
        started_at=one.started_at,
        heard_at=one.heard_at,
        answers=one.answers,
        isolation=tuple(facts),
        warnings=tuple(str(text) for text in warnings) if isinstance(warnings, list | tuple) else (),
    )


def _isolation_words(value: object) -> str:
    if isinstance(value, bool):
        return "filtered" if value else "NOT FILTERED"
    return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def _storage(use: StorageUse) -> tuple[views.Fact, ...]:
    more = "" if use.counted_all else " at least"
    facts = [
        views.Fact(
            title="Blobs", value=f"{formats.number(use.blobs)}{more}, {formats.size(use.blob_bytes)}{more}"
        ),
        views.Fact(
            title="Environments",
            value=f"{formats.number(use.environments)}, {formats.size(use.environment_bytes)} "
            "if nothing were shared",
        ),
    ]
    if use.disk_total is not None:
        free = f"{formats.size(use.disk_free)} of {formats.size(use.disk_total)}"
        facts.append(views.Fact(title="Free disk", value=free))
    return tuple(facts)


def letter_row(letter: DeadLetter) -> views.DeadLetterRow:
    """Return a dead letter with the ids in it."""
    named = {**letter.about, "message": letter.message_id, "correlation": letter.correlation_id}
    return views.DeadLetterRow(
        number=letter.number,
        kind=letter.kind,
        subject=letter.subject,
        reason=letter.reason,
        at=letter.at,
        size=letter.size,
        about=tuple(
            views.Fact(title=name.replace("_", " "), value=value, code=True)
            for name, value in named.items()
            if value
        ),
    )


def user_row(one: ListedUser) -> views.UserRow:
    """Return an account with its roles and what it uses."""
    roles = (["operator"] if one.user.operator else []) + [str(role) for role in one.user.roles]
    return views.UserRow(
        name=one.user.name,
        email=one.user.email,
        created_at=one.user.created_at,
        roles=tuple(roles),
        quotas=tuple(_use(use) for use in one.quotas),
    )


def _use(use: QuotaUse) -> views.UseRow:
    share = min(100.0, use.used / use.limit * 100) if use.limit else 100.0
    return views.UseRow(
        title=use.title, text=quota_words(use), share=round(share, 1), near=share >= NEAR_PERCENT
    )


def quota_words(use: QuotaUse) -> str:
    """Say how much of a quota is used."""
    if use.unit == "bytes":
        return f"{formats.size(use.used)} of {formats.size(use.limit)}"
    if use.unit == "seconds":
        return f"{formats.duration(use.used * 1000)} of {formats.duration(use.limit * 1000)}"
    return f"{formats.number(use.used)} of {formats.number(use.limit)} {use.unit}"


def mail_row(mail: FolderMail) -> views.MailRow:
    """Return a mail."""
    return views.MailRow(to=mail.to, subject=mail.subject, written_at=mail.written_at, text=mail.text)


def audit_rows(
    entries: Sequence[AuditEntry], names: Mapping[str, str], *, linked: bool
) -> tuple[views.AuditRow, ...]:
    """Return entries with their actors' names, `linked` to what they are about."""
    return tuple(_audit_row(entry, names, linked=linked) for entry in entries)


def _audit_row(entry: AuditEntry, names: Mapping[str, str], *, linked: bool) -> views.AuditRow:
    page = _PAGES.get(entry.kind) if linked else None
    return views.AuditRow(
        at=entry.created_at,
        actor=names.get(entry.actor) or entry.actor,
        action=entry.action,
        kind=entry.kind,
        subject=entry.subject,
        url=page.format(entry.subject) if page else "",
    )


def quota_fields(user: User, settings: ApiSettings) -> tuple[views.QuotaField, ...]:
    """Return the quotas of one account as fields of a form; empty ones are those of the instance."""

    def field(name: str, title: str, hint: str, write: Callable[[int], str]) -> views.QuotaField:
        own: int | None = getattr(user, name)
        return views.QuotaField(
            name=name,
            title=title,
            hint=hint,
            value="" if own is None else write(own),
            of_all=write(getattr(settings, name)),
        )

    return (
        field("max_storage_bytes", "Storage", "Such as 20Gi or 500M", plain_size),
        field("max_runs_per_day", "Runs a day", "A whole number", str),
        field("max_build_seconds_per_day", "Build minutes a day", "A whole number", _minutes),
    )


def plain_size(count: int) -> str:
    """Return bytes as `parse_size` reads them back, to the byte."""
    for unit, length in (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if count and count % length == 0:
            return f"{count // length}{unit}"
    return str(count)


def _minutes(seconds: int) -> str:
    return str(-(-seconds // 60))
