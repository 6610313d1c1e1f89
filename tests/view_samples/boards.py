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
