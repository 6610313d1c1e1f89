"""What is told of each document, and to whom."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from vitrine_api import blindness
from vitrine_api.blind_use import Use, runs_left
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.links import NewLink
from vitrine_api.monitoring import WINDOW, Summary
from vitrine_api.policy import Action, Principal, allows
from vitrine_api.quotas import QuotaUse
from vitrine_api.resources import (
    API,
    CheckpointOut,
    InviteOut,
    LinkOut,
    LinkView,
    ModelOut,
    MonitorOut,
    OutputOut,
    QuotaOut,
    RunOut,
    TokenOut,
    TrialOut,
    UseOut,
    VersionOut,
    WindowOut,
)
from vitrine_api.runs import RunRecord
from vitrine_api.specs import spec_of
from vitrine_api.training import TrialRecord
from vitrine_common.documents import (
    ApiToken,
    Checkpoint,
    Invite,
    Model,
    Output,
    ScoringRecord,
    ShareLink,
    Version,
)
from vitrine_common.documents.run import Timings


def quota_out(use: QuotaUse) -> QuotaOut:
    """Describe a quota."""
    return QuotaOut.model_validate(use, from_attributes=True)


def token_out(token: ApiToken, secret: str | None = None) -> TokenOut:
    """Describe a token."""
    return TokenOut(**token.model_dump(include=set(TokenOut.model_fields) - {"token"}), token=secret)


def invite_out(invite: Invite, code: str | None = None, url: str | None = None) -> InviteOut:
    """Describe an invite."""
    told = invite.model_dump(include={"id", "email", "created_at", "expires_at", "model", "roles"})
    return InviteOut(**told, used=invite.used_by is not None, code=code, url=url)


def model_out(model: Model) -> ModelOut:
    """Describe a model."""
    told = model.model_dump(include=set(ModelOut.model_fields))
    return ModelOut(**told, reference=f"{model.owner}/{model.name}")


def interface(version: Version) -> dict[str, list[dict[str, Any]]]:
    """Return the effective inputs and outputs."""
    spec = spec_of(version)
    return {
        "inputs": [_plain(item) for item in spec.effective_inputs()],
        "outputs": [_plain(item) for item in spec.effective_outputs()],
    }


def _plain(section: BaseModel) -> dict[str, Any]:
    return section.model_dump(mode="json", by_alias=True, exclude_none=True)


def version_out(version: Version) -> VersionOut:
    """Describe a version."""
    told = version.model_dump(include=set(VersionOut.model_fields))
    url = f"{API}/versions/{version.id}/events"
    return VersionOut(**told, **interface(version), reference=version.reference, events_url=url)


def run_out(
    principal: Principal,
    record: RunRecord,
    base: str = f"{API}/runs",
    version: Version | None = None,
    sight: Sight = EVERYTHING,
) -> RunOut:
    """Describe a run as far as `principal` may know; `base` is where its addresses begin."""
    request, run = record.request, record.run
    may_open = allows(principal, Action.OPEN, request)
    is_member = version is not None
    url = f"{base}/{request.id}"
    outputs = run.outputs if run is not None and may_open else []
    return RunOut(
        id=request.id,
        state=record.state,
        final=record.final,
        reason=run.reason if run else None,
        message=sight.text(run.message) if run and may_open else "",
        version=version.reference if version else None,
        version_id=request.version_id if is_member else None,
        version_digest=sight.digest("bundle", request.version_digest),
        link_id=request.link_id if is_member else None,
        inputs=_inputs_out(request.inputs, sight) if may_open else {},
        outputs=outputs_out(outputs, url, sight),
        timings=run.timings if run else Timings(),
        cold=run.cold if run else None,
        attempt=run.attempt if run else 0,
        exit_code=run.exit_code if run else None,
        peak_memory_bytes=run.peak_memory_bytes if run else None,
        log_tail=sight.text(run.log_tail) if run and may_open else "",
        created_at=request.created_at,
        started_at=run.started_at if run else None,
        finished_at=run.finished_at if run else None,
        expires_at=request.expires_at,
        url=url,
        events_url=f"{url}/events",
    )


def _inputs_out(inputs: str, sight: Sight) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(inputs)
    if sight is EVERYTHING:
        return values
    return {name: _file_out(value, sight) for name, value in values.items()}


def _file_out(value: Any, sight: Sight) -> Any:
    if not isinstance(value, dict) or set(value) != {"digest", "size", "media_type", "filename"}:
        return value
    name, digest = sight.text(str(value["filename"])), sight.digest("input", str(value["digest"]))
    return value | {"filename": name, "digest": digest}


def outputs_out(outputs: list[Output], url: str, sight: Sight = EVERYTHING) -> list[OutputOut]:
    """Describe outputs; several files of one name are told apart by `index`."""
    seen: dict[str, int] = {}
    described = []
    for output in outputs:
        index = seen[output.name] = seen.get(output.name, -1) + 1
        address = f"{url}/outputs/{output.name}" + (f"?index={index}" if index else "")
        told = output.model_dump(exclude={"value"})
        told["filename"] = sight.output_name(output.name, output.filename)
        told["digest"] = sight.digest("output", output.digest) if output.digest else None
        value = None if output.value is None else json.loads(output.value)
        described.append(OutputOut(**told, value=value, url=address if output.digest else None))
    return described


def link_out(
    link: ShareLink,
    version: Version | None,
    use: Use | None = None,
    made: NewLink | None = None,
    base_url: str = "",
) -> LinkOut:
    """Describe a link to its owner.

    Args:
        link: which.
        version: what it shows, if that is still there.
        use: how often it was used, as far as its owner may know; a new link's is none.
        made: what is told this once of a new link.
        base_url: how people reach the api.
    """
    use = use or Use()
    counted = {"runs_used", "opened"}
    told = link.model_dump(include=set(LinkOut.model_fields) - counted)
    token = made.token if made else None
    return LinkOut(
        **told,
        version=version.reference if version else None,
        state=use.state(link),
        runs_used=use.runs,
        opened=use.opened,
        use=[UseOut(**asdict(bucket)) for bucket in use.buckets],
        passcode_set=link.passcode_hash is not None,
        token=token,
        url=f"{base_url}/s/{token}" if token else None,
        embed_url=f"{base_url}/e/{token}" if token and link.embed_origins else None,
        passcode=made.passcode if made else None,
        warnings=list(made.warnings) if made else [],
    )


def link_view(link: ShareLink, version: Version) -> LinkView:
    """Describe a link to its holder."""
    left = runs_left(link)
    return LinkView(
        model=blindness.title(link, version),
        version_digest=blindness.digest(link, "bundle", version.digest),
        description=str(version.spec.get("description") or ""),
        state="used_up" if left == 0 else "active",
        runs_left=left,
        expires_at=link.expires_at,
        max_input_bytes=link.max_input_bytes,
        **blindness.interface(link, interface(version)),
    )


def trial_out(record: TrialRecord) -> TrialOut:
    """Describe a training."""
    request, trial = record.request, record.trial
    url = f"{API}/trials/{request.id}"
    version = record.version
    return TrialOut(
        id=request.id,
        state=record.state,
        final=record.final,
        reason=trial.reason if trial else None,
        message=trial.message if trial else "",
        owner=request.owner,
        model=request.model,
        source_digest=request.manifest_digest,
        environment_digest=trial.environment_digest if trial else None,
        metrics=trial.metrics if trial else {},
        outputs=outputs_out(trial.outputs, url) if trial else [],
        peak_memory_bytes=trial.peak_memory_bytes if trial else None,
        exit_code=trial.exit_code if trial else None,
        log_tail=trial.log_tail if trial else "",
        version_id=version.id if version else (trial.version_id if trial else None),
        version_digest=trial.version_digest if trial else None,
        version=version.reference if version else None,
        created_at=request.created_at,
        started_at=trial.started_at if trial else None,
        finished_at=trial.finished_at if trial else None,
        url=url,
        events_url=f"{url}/events",
    )


def checkpoint_out(checkpoint: Checkpoint) -> CheckpointOut:
    """Describe a checkpoint."""
    return CheckpointOut(**checkpoint.model_dump(include=set(CheckpointOut.model_fields)))


def monitor_out(version: Version, summary: Summary) -> MonitorOut:
    """Describe how a version does."""
    window = WindowOut(runs=summary.runs, limit=WINDOW, since=summary.since, until=summary.until)
    return MonitorOut(
        version=version.reference,
        version_id=version.id,
        window=window,
        outcomes=summary.outcomes,
        reasons=summary.reasons,
        cold_starts=summary.cold_starts,
        latency_ms=summary.latency_ms,
        predictions=summary.predictions,
    )


def scoring_out(record: ScoringRecord) -> dict[str, Any]:
    """Describe a scoring record; raw values, kept for a while by the monitor, are left out."""
    return record.model_dump(mode="json", exclude={"raw_inputs", "raw_expires_at"})
