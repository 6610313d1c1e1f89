"""Sample data of claims and their checks."""

from __future__ import annotations

from dataclasses import replace

from view_samples.visitor import DIGEST, LONG, TOKEN, ago
from vitrine_api import views as v

ACCURACY = v.ClaimEntry(
    name="heldout-accuracy",
    statement="The network reads 98 % of the handwritten digits that it never saw.",
    expected="0.98",
    tolerance="± 0.01, or higher",
    verdict="reproduced",
    measured="0.983",
    note="your check",
    tally="Reproduced in 41 of 42 checks, the last on 3 March 2026",
    dataset="digits-heldout@1",
    repeats=3,
    extend=v.ClaimExtend(max_files=3, max_bytes=10_000_000, accept=".png,.jpg", label="The digit it shows"),
    check_url=f"/s/{TOKEN}/claims/checks/check_1",
)
LOSS = replace(
    ACCURACY,
    name="heldout-loss",
    statement="Its cross-entropy on them is below that of the linear baseline.",
    expected="0.071",
    tolerance="± 5 %",
    verdict="differs",
    measured="0.0812",
    note="checked 3 March 2026",
    extend=None,
    check_url="",
)
SLOW = replace(
    LOSS,
    name="baseline-accuracy",
    statement=f"The baseline, {LONG}, reads 91 %.",
    expected="91.2",
    unit="%",
    tolerance="exactly",
    verdict="",
    measured="",
    tally="Not checked yet",
    dataset="baseline-data@12 (private)",
)
BROKEN = replace(SLOW, name="baseline-loss", expected="0.31", unit="", verdict="failed", tolerance="± 0.01")
CHECKS = (
    v.CheckRow(
        id="check_01jq8y3v9m4k7t2x5n6p8r1s3w",
        claim="heldout-accuracy",
        state="reproduced",
        created_at=ago(minutes=5),
        url=f"/s/{TOKEN}/claims/checks/check_1",
        measured="0.983",
        own_inputs=2,
    ),
    v.CheckRow(
        id="check_01jq8y3v9m4k7t2x5n6p8r1s3x",
        claim="heldout-loss",
        state="running",
        created_at=ago(seconds=5),
        url=f"/s/{TOKEN}/claims/checks/check_2",
    ),
)
CLAIMS = v.ClaimsTable(
    columns=("Accuracy", "Cross-entropy"),
    rows=(
        v.ClaimsRow(title="Ours (400 units)", cells=((ACCURACY,), (LOSS,))),
        v.ClaimsRow(title="Baseline", cells=((SLOW,), (BROKEN,))),
        v.ClaimsRow(title="Ours without redrawing", cells=((), (replace(LOSS, name="ablation"),))),
    ),
    entries=(ACCURACY, LOSS, SLOW, BROKEN),
    start_url=f"/s/{TOKEN}/claims/checks",
    checks=CHECKS,
)
CHECK = v.CheckView(
    id="check_01jq8y3v9m4k7t2x5n6p8r1s3w",
    claim="heldout-accuracy",
    statement=ACCURACY.statement,
    state="reproduced",
    created_at=ago(minutes=5),
    url=f"/s/{TOKEN}/claims/checks/check_1",
    expected="0.98",
    tolerance="± 0.01, or higher",
    verdict="reproduced",
    measured="0.983",
    spread="0.0011",
    difference="+0.003",
    repeats=tuple(
        v.RepeatRow(
            number=number,
            value=value,
            duration_ms=2310.0 + number,
            peak_memory_bytes=181_000_000,
            log_tail='read 360 digits\n{"accuracy": 0.983}',
        )
        for number, value in enumerate(("0.982", "0.983", "0.984"), 1)
    ),
    repeats_wanted=3,
    facts=(
        v.Fact(title="Dataset", value="digits-heldout@1"),
        v.Fact(title="Dataset digest", value=DIGEST, code=True),
        v.Fact(title="Took", value="7.4 s"),
        v.Fact(title="Hardware", value="AMD EPYC 7763 64-Core Processor"),
        v.Fact(title="Environment digest", value=DIGEST, code=True),
    ),
    receipt_url=f"/s/{TOKEN}/claims/checks/check_1/receipt",
    by_link=True,
)
CHECK_RUNNING = replace(
    CHECK,
    state="running",
    verdict="",
    measured="",
    spread="",
    difference="",
    repeats=CHECK.repeats[:1],
    repeat=2,
    facts=(),
    receipt_url="",
    log_tail="read 360 digits",
)
CHECK_QUEUED = replace(CHECK_RUNNING, state="queued", repeats=(), repeat=0, ahead=3, log_tail="")
CHECK_DIFFERS = replace(
    CHECK,
    state="differs",
    verdict="differs",
    measured="0.91",
    difference="-0.07",
    own_inputs=(v.OwnInputRow(filename=f"{LONG}.png", size=12_000, label="7"),),
    own_inputs_count=1,
)
CHECK_FAILED = replace(
    CHECK,
    state="failed",
    verdict="failed",
    measured="",
    spread="",
    difference="",
    reason="user_error",
    message="The metric cannot be read from `result.json`: the JSON has nothing at `test.accuracy`.",
    repeats=(
        v.RepeatRow(
            number=1,
            value="",
            duration_ms=120,
            reason="user error",
            message="The metric cannot be read from `result.json`: the JSON has nothing at `test.accuracy`.",
            log_tail="Traceback (most recent call last): …",
        ),
    ),
    by_link=False,
)
CHECK_CANCELLED = replace(
    CHECK_QUEUED, state="cancelled", reason="cancelled", message="The check was cancelled."
)
