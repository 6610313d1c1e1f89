"""From stored documents to the facts that a run's receipt states."""

from __future__ import annotations

import json

from vitrine_api.run_inputs import file_values
from vitrine_common.digests import canonical_json, digest_of_json, sha256_bytes
from vitrine_common.documents import Environment, Output, Run, RunRequest, Version
from vitrine_common.receipts.statement import Artifact, RunFacts

_JSON = "application/json"


def run_facts(request: RunRequest, run: Run, version: Version, environment: Environment | None) -> RunFacts:
    """Return the facts of a finished run.

    A value counts as the bytes of its canonical JSON; a file as its own.
    """
    return RunFacts(
        reference=version.reference,
        version_digest=run.version_digest,
        environment_digest=request.environment_digest,
        spec_digest=digest_of_json(version.spec),
        conditions=run.conditions,
        python=environment.python if environment else None,
        created_at=request.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        run_id=run.id,
        state=run.state.value,
        reason=run.reason.value if run.reason else None,
        exit_code=run.exit_code,
        cold=run.cold,
        timings=run.timings,
        inputs=input_artifacts(request, version),
        outputs=output_artifacts(run.outputs),
    )


def input_artifacts(request: RunRequest, version: Version) -> list[Artifact]:
    """Return what a run was given, by input name."""
    files = file_values(version, request.inputs)
    found = []
    for name, value in json.loads(request.inputs).items():
        if name in files:
            file = files[name]
            found.append(Artifact(name, file.digest, file.size, file.media_type))
        else:
            text = canonical_json(value)
            found.append(Artifact(name, sha256_bytes(text), len(text), _JSON))
    return found


def output_artifacts(outputs: list[Output]) -> list[Artifact]:
    """Return what a run answered; files of one output are told apart by their names."""
    found = []
    for output in outputs:
        if output.digest is not None:
            name = f"{output.name}/{output.filename}" if output.filename else output.name
            found.append(Artifact(name, output.digest, output.size, output.media_type))
        elif output.value is not None:
            text = output.value.encode()
            found.append(Artifact(output.name, sha256_bytes(text), len(text), _JSON))
    return found
