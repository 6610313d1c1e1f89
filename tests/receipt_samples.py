"""Facts of runs and claims, and their receipts, for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vitrine_common.digests import sha256_bytes
from vitrine_common.documents.run import Conditions, Timings
from vitrine_common.receipts.keys import KeySet, PublicKey
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.receipts.statement import (
    Artifact,
    ClaimFacts,
    Disclosure,
    Issuer,
    Open,
    RunFacts,
    RunPart,
    claim_statement,
    run_statement,
)

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
URL = "https://vitrine.example"
CONDITIONS = Conditions(
    engine="process",
    harness=sha256_bytes(b"harness"),
    platform="Linux x86_64 glibc2.36",
    cpu="Some CPU",
    cores=2,
    memory_bytes=8 << 30,
    cpu_limit=1.0,
    memory_limit=1 << 30,
)
PICTURE = b"a picture"
BASIS: dict[str, Any] = {
    "reference": "ada/digits@3",
    "version_digest": sha256_bytes(b"bundle"),
    "environment_digest": sha256_bytes(b"environment"),
    "spec_digest": sha256_bytes(b"spec"),
    "conditions": CONDITIONS,
    "python": "3.11",
    "created_at": AT,
    "started_at": AT,
    "finished_at": AT + timedelta(seconds=1),
}
RUN = RunFacts(
    **BASIS,
    run_id="run_01",
    state="succeeded",
    exit_code=0,
    cold=True,
    timings=Timings(queued_ms=1.5, compute_ms=80.25, total_ms=99.0),
    inputs=[Artifact("image", sha256_bytes(b"input"), 5, "image/png")],
    outputs=[Artifact("results/ada/out.png", sha256_bytes(PICTURE), len(PICTURE), "image/png")],
)
FAILED = replace(RUN, state="failed", reason="user_error", exit_code=1, outputs=())
CLAIM = ClaimFacts(
    **BASIS,
    check_id="check_01",
    claim={
        "name": "accuracy",
        "statement": "Accuracy is 97 %",
        "expected": 0.97,
        "command": "python ada.py",
        "dataset": "digits-test@1",
    },
    verdict="reproduced",
    expected=0.97,
    tolerance=0.01,
    measured=0.968,
    spread=0.001,
    dataset=Artifact("digits-test@1", sha256_bytes(b"dataset")),
    runs=[RunPart(run_id="run_02", state="succeeded", measured=0.968, compute_ms=10.0)],
    duration_ms=1000.0,
)


def issuer(key: PrivateKey, at: datetime = AT) -> Issuer:
    """The instance with this key."""
    return Issuer(URL, key.id, at)


def keys(*private: PrivateKey, **dates: Any) -> KeySet:
    """A key set of these keys, in use since an hour before the samples."""
    given: dict[str, Any] = {"not_before": AT - HOUR, **dates}
    return KeySet.of(URL, [PublicKey(key.public_raw, **given) for key in private])


def run_receipt(key: PrivateKey, disclosure: Disclosure | None = None, facts: RunFacts = RUN) -> bytes:
    """A run's receipt as it is downloaded."""
    return key.sign(run_statement(facts, issuer(key), disclosure or Open())).to_bytes()


def claim_receipt(key: PrivateKey, disclosure: Disclosure | None = None) -> bytes:
    """A claim's receipt as it is downloaded."""
    return key.sign(claim_statement(CLAIM, issuer(key), disclosure or Open())).to_bytes()
