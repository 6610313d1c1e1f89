"""The colours that text is written in can be read on what they stand on (WCAG 2.2, AA)."""

from __future__ import annotations

import re

import pytest

from vitrine_api.rendering import STATIC

PAIRS = [
    *((ink, ground) for ink in ("ink", "soft", "faint", "glass") for ground in ("paper", "surface", "sunk")),
    *((tone, f"{tone}-tint") for tone in ("good", "busy", "warn", "bad")),
    *(("ink", f"{tone}-tint") for tone in ("good", "warn", "bad", "glass")),
    *((ink, "glass-tint") for ink in ("soft", "faint", "glass")),
    ("on-glass", "glass"),
    ("on-glass", "glass-hover"),
    ("bad", "surface"),
    ("amber", "surface"),
    ("busy", "surface"),
]
EDGES = [("line-strong", "surface"), ("line-strong", "paper"), ("glass", "paper")]


def palette(scheme: str) -> dict[str, str]:
    css = (STATIC / "css" / "base.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return colours | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_can_be_read(scheme: str, ink: str, ground: str) -> None:
    colours = palette(scheme)
    assert contrast(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("edge", "ground"), EDGES)
def test_edges_of_controls_can_be_seen(scheme: str, edge: str, ground: str) -> None:
    colours = palette(scheme)
    assert contrast(colours[edge], colours[ground]) >= 3
