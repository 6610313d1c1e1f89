"""Sample data of the overview, differences, the operator's pages and the audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from view_samples.owner import LINKS, MODELS
from view_samples.visitor import LONG, NOW, OWNER, OWNER_RUNS, ago
from vitrine_api import views as v
from vitrine_api.dashboard import Day
from vitrine_api.presenters.dashboard import run_chart

_RUNS = (3, 0, 12, 40, 38, 7, 0, 0, 25, 61, 58, 44, 90, 17)
CHART = run_chart(
    [Day((NOW - timedelta(days=13 - index)).date(), runs, runs // 9) for index, runs in enumerate(_RUNS)]
)
DASHBOARD = v.Dashboard(
    models=MODELS.models,
    more_models=True,
    chart=CHART,
    attention=(
        v.AttentionRow(
            title="ada/digits@4 could not be built",
            text="`torch==2.99` does not exist for Python 3.11; the newest one is 2.13.0.",
            url="/models/ada/digits/versions/4",
            at=ago(minutes=9),
            tone="bad",
        ),
        v.AttentionRow(
            title=f"A link to ada/{LONG} expires soon",
            text="It works until 23 November 2026. Open it to give it more time.",
            url="/links/lnk_1",
            at=ago(days=2),
        ),
    ),
    links=LINKS[:2],
    runs=OWNER_RUNS,
)
BOARD_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    "dashboard": (DASHBOARD, replace(OWNER, path="/")),
    "dashboard-new": (
        v.Dashboard(models=(), chart=run_chart([]), api_url="http://127.0.0.1:8300"),
        replace(OWNER, path="/"),
    ),
    "dashboard-quiet": (
        v.Dashboard(models=MODELS.models[1:2], chart=run_chart([Day(NOW.date(), 0, 0)])),
        replace(OWNER, path="/"),
    ),
    "models-found": (
        replace(
            MODELS, query="dig", sort="name", paging=v.Paging(older_url="/models?a", newer_url="/models")
        ),
        replace(OWNER, path="/models"),
    ),
    "models-none-found": (v.Models(models=(), query="dog"), replace(OWNER, path="/models")),
}
DIFF = v.Diff(
    title="digits",
    model_url="/models/ada/digits",
    before="3",
    after="4",
    before_reference="ada/digits@3",
    after_reference="ada/digits@4",
    before_url="/models/ada/digits/versions/3",
    after_url="/models/ada/digits/versions/4",
    versions=("4", "3", "2", "1"),
    file_changes=40,
    files=(
        v.DiffFile(
            kind="changed",
            path="predict.py",
            size_before=1820,
            size_after=1904,
            is_open=True,
            lines=(
                v.DiffLine(kind="place", text="@@ -12,4 +12,4 @@"),
                v.DiffLine(kind="same", text=" def predict(image):"),
                v.DiffLine(kind="drop", text="-    return model(image)"),
                v.DiffLine(kind="add", text=f"+    return model(normalise(image))  # {LONG}"),
            ),
        ),
        v.DiffFile(
            kind="added", path="weights/epoch-20.onnx", size_after=84_000_000, note="too long to show"
        ),
        v.DiffFile(kind="removed", path=f"{LONG}.txt", size_before=12),
        v.DiffFile(kind="moved", path="lib/a.py", moved_from="a.py", size_before=90, size_after=90),
    ),
    spec=(v.DiffValue(name="inputs.image.max_side", before="1024", after="2048"),),
    packages=(
        v.DiffValue(name="torch", before="2.12.0", after="2.13.0"),
        v.DiffValue(name="einops", after="0.8.1"),
        v.DiffValue(name="scipy", before="1.16.0"),
    ),
    environment="1.4 GB of layers are shared; 210 MB came, 190 MB went.",
    metrics=(v.DiffValue(name="accuracy", before="0.981", after="0.988"),),
    claims=(
        v.DiffValue(
            name="accuracy",
            before="claimed 0.98, measured 0.981: reproduced",
            after="claimed 0.99, not checked",
        ),
    ),
)
BOARD_SAMPLES |= {
    "diff": (DIFF, replace(OWNER, path="/models/ada/digits/versions/3/diff")),
    "diff-same": (replace(DIFF, same=True), OWNER),
    "diff-nothing": (
        replace(DIFF, files=(), spec=(), packages=(), environment="", metrics=(), claims=(), versions=("3",)),
        OWNER,
    ),
}
