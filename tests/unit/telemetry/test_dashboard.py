"""The dashboard asks for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vitrine_common.telemetry.metrics import METRICS

DASHBOARD = Path(__file__).parents[3] / "infra/grafana/vitrine.json"
_SUFFIX = re.compile(r"_(?:total|bucket|count|sum)$")


def test_every_query_names_metrics_and_labels_that_exist() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = set()
    for query in queries:
        (name,) = {_SUFFIX.sub("", found) for found in re.findall(r"vitrine_[a-z_]+", query)}
        asked.add(name)
        by = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
        assert by - {"le"} <= set(METRICS[name].labels), query
    assert len(asked) >= 10
