"""Datasets and checks on the api of the tests: pushed as the command line does, ended as a runner would."""

from __future__ import annotations

import json
from typing import Any

from api_instance import Account, Instance, manifest
from vitrine_common.clock import utcnow
from vitrine_common.documents import ClaimCheck, ClaimCheckRequest, Repeat
from vitrine_common.spec import Claim
from vitrine_common.states import ClaimState, Reason
from vitrine_common.verdicts import judge

SECRET = "patients-2019.csv"
"""The one file of the dataset; those who check a claim on a private one must not read its name."""


async def push_dataset(account: Account, name: str = "held", **fields: Any) -> dict[str, Any]:
    """Push a dataset of one file with a name that tells."""
    files = {SECRET: b"a,b\n1,2\n"}
    await account.upload(files)
    listed = manifest({}, files)["files"]
    answer = await account.client.post("/api/v1/datasets", json={"name": name, "files": listed, **fields})
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())


async def finish_check(
    api: Instance, check_id: str, values: tuple[float | None, ...], **fields: Any
) -> ClaimCheck:
    """Write what a runner would have written about a check."""
    request = await api.database_as("runner").collection(ClaimCheckRequest).get(check_id)
    judgement = judge(Claim.model_validate(json.loads(request.claim)), values)
    repeats = [
        Repeat(value=v, duration_ms=5.0, exit_code=0, log_tail=f"read /data/held/{SECRET}")
        if v is not None
        else Repeat(reason=Reason.USER_ERROR, message=f"no column in {SECRET}", log_tail="KeyError")
        for v in values
    ]
    check = ClaimCheck(
        id=check_id,
        created_at=request.created_at,
        version_id=request.version_id,
        claim_name=request.claim_name,
        link_id=request.link_id,
        blind=request.blind,
        own_inputs=len(request.own_inputs),
        expires_at=request.expires_at,
        state=ClaimState(judgement.verdict),
        reason=repeats[-1].reason,
        message=repeats[-1].message,
        repeats=repeats,
        expected=judgement.expected,
        tolerance=judgement.tolerance,
        measured=judgement.measured,
        spread=judgement.spread,
        started_at=utcnow(),
        finished_at=utcnow(),
        tally="" if request.own_inputs else f"{request.claim_name}:{judgement.verdict}",
    ).model_copy(update=fields)
    return await api.database_as("runner").collection(ClaimCheck).insert(check)
