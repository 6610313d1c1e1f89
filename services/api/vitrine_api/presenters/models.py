"""Models, versions and builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vitrine_api import formats, views
from vitrine_api.presenters.fields import as_text
from vitrine_api.progress import Change
from vitrine_common.bundle import Manifest
from vitrine_common.clock import utcnow
from vitrine_common.documents import Build, Model, Version
from vitrine_common.spec import Input, Spec
from vitrine_common.states import BuildState, VersionState

_BUILD_STATES = {
    VersionState.READY: "succeeded",
    VersionState.BUILD_FAILED: "failed",
}


def version_url(version: Version) -> str:
    """Return the address of a version's page."""
    return f"/models/{version.owner}/{version.model}/versions/{version.number}"


def model_row(model: Model, latest: Version | None) -> views.ModelRow:
    """Return a model as a row of the list."""
    return views.ModelRow(
        owner=model.owner,
        name=model.name,
        title=model.name,
        url=f"/models/{model.owner}/{model.name}",
        updated_at=latest.created_at if latest else model.created_at,
        description=model.description,
        version=str(latest.number) if latest else "",
        state=latest.state.value if latest else "draft",
        versions=model.last_number,
    )


def diff_url(before: Version, after: Version) -> str:
    """Return the address of how a model's version differs from an older one."""
    return f"{version_url(before)}/diff?to={after.number}"


def version_rows(versions: Sequence[Version]) -> tuple[views.VersionRow, ...]:
    """Return versions, newest first, as rows that lead to how each differs from the one before."""
    older = (*versions[1:], None)
    return tuple(_version_row(version, before) for version, before in zip(versions, older, strict=True))


def _version_row(version: Version, before: Version | None) -> views.VersionRow:
    return views.VersionRow(
        diff_url=diff_url(before, version) if before else "",
        version=str(version.number),
        url=version_url(version),
        digest=version.digest,
        state=version.state.value,
        created_at=version.created_at,
        message=version.build_problem.message if version.build_problem else "",
        size=version.total_bytes,
    )


def build_view(version: Version, build: Build | None, news: dict[str, Any] | None = None) -> views.BuildView:
    """Return the making of a version's environment; `news` is the latest that was heard of it."""
    problem = version.build_problem
    said = news or {}
    done, total = said.get("done"), said.get("total")
    started = build.created_at if build else version.created_at
    finished = build.finished_at if build else None
    building = build is not None and build.state is BuildState.BUILDING
    abandoned = building and build is not None and build.lease_expires_at < utcnow()
    state = BuildState.BUILDING.value if building and not abandoned else "queued"
    step = _ABANDONED if abandoned else build.step if build else ""
    return views.BuildView(
        id=version.build_id or version.id,
        state=_BUILD_STATES.get(version.state, state),
        created_at=started,
        finished_at=finished,
        step=str(said.get("message") or said.get("step") or step),
        progress=done / total if isinstance(done, int) and isinstance(total, int) and total else None,
        message=problem.message if problem else "",
        passes=problem.passes if problem else False,
        log_tail=problem.log_tail if problem else "",
        total_ms=(finished - started).total_seconds() * 1000 if finished else None,
        cached=build.reused if build else False,
        steps=_steps(build) if build else (),
    )


_ABANDONED = "The builder that was at it is gone; the next one that is there takes it up"
_STEPS = ("resolve", "system", "download", "unpack", "assemble", "load", "push", "bytecode")


def _steps(build: Build) -> tuple[tuple[str, float], ...]:
    """Return the steps that took a tenth of a second at least, in their order."""
    return tuple((name, spent) for name in _STEPS if (spent := build.timings_ms.get(name, 0.0)) >= 100)


def build_events(
    build_of: Callable[[Version], Build | None], render: Callable[[views.View], str]
) -> Callable[[Change[Version]], list[tuple[str, str]]]:
    """Return an encoder of a build's changes as HTML fragments: `status`, `progress`, `done`."""
    version: Version | None = None

    def encode(change: Change[Version]) -> list[tuple[str, str]]:
        nonlocal version
        version = change.state or version
        if version is None:
            return []
        news = change.news.payload if change.news else None
        event = {"end": "done", "state": "status"}.get(change.kind, "progress")
        shown = build_view(version, build_of(version), news)
        return [(event, render(views.BuildProgress(build=shown)))]

    return encode


def interface_rows(items: Sequence[Any]) -> tuple[views.InterfaceRow, ...]:
    """Return inputs or outputs with their ranges and choices in words."""
    return tuple(views.InterfaceRow(name=item.name, type=item.type, detail=_detail(item)) for item in items)


def _detail(item: Input) -> str:
    parts = []
    low, high = getattr(item, "min", None), getattr(item, "max", None)
    if low is not None or high is not None:
        parts.append(f"{'' if low is None else low} to {'' if high is None else high}".strip())
    if choices := getattr(item, "choices", None):
        parts.append("one of " + ", ".join(as_text(choice) for choice in choices[:8]))
    if accept := getattr(item, "accept", None):
        parts.append(", ".join(accept))
    if (default := getattr(item, "default", None)) is not None:
        parts.append(f"default {as_text(default)[:60]}")
    if item.description:
        parts.append(item.description)
    return " · ".join(parts)


def facts(spec: Spec, version: Version) -> tuple[views.Fact, ...]:
    """Return what is known of a version, in rows."""
    limits = spec.limits()
    found = [views.Fact(title="Kind", value=spec.kind().value)]
    if spec.model is not None:
        command = " ".join(part for part in (spec.model.exec_cmd, spec.model.command) if part)
        found.append(views.Fact(title="Command", value=command, code=True))
    if spec.onnx is not None:
        found.append(views.Fact(title="ONNX file", value=spec.onnx, code=True))
    found += [
        views.Fact(title="Bundle", value=f"{version.file_count} files, {formats.size(version.total_bytes)}"),
        views.Fact(title="Memory", value=formats.size(limits.memory)),
        views.Fact(title="Timeout", value=formats.duration(limits.timeout * 1000)),
    ]
    found += [views.Fact(title="Warning", value=warning) for warning in version.warnings]
    return tuple(found)


def file_rows(manifest: Manifest) -> tuple[views.FileRow, ...]:
    """Return the files of the bundle."""
    return tuple(
        views.FileRow(path=entry.path, size=entry.size, digest=entry.digest) for entry in manifest.files
    )


def lineage_facts(version: Version) -> tuple[views.Fact, ...]:
    """Return where a trained version comes from."""
    lineage = version.lineage
    if lineage is None:
        return ()
    return (
        views.Fact(title="Trial", value=lineage.trial_id, code=True, url=f"/trials/{lineage.trial_id}"),
        views.Fact(title="Source", value=lineage.source_digest, code=True),
        views.Fact(title="Environment", value=lineage.environment_digest, code=True),
        *(views.Fact(title=name, value=f"{value:g}") for name, value in lineage.metrics.items()),
    )
