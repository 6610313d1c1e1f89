"""The front matter of model cards, as the Hugging Face Hub's cards have it.

Source: https://huggingface.co/docs/hub/model-cards (metadata, `model-index`, `widget`). Only what a reader
is helped by is read; what is malformed is left out, since a card must never keep a page from being shown.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from vitrine_api.views import CardFact, CardFacts, CardResult
from vitrine_common.spec.document import read_document
from vitrine_common.spec.errors import SpecError

MAX_ITEMS = 30
MAX_RESULTS = 60
MAX_SAMPLES = 12
_TEXT = 200
_SAMPLE = 2000
_FACTS = (
    ("license", "Licence"),
    ("pipeline_tag", "Task"),
    ("language", "Language"),
    ("library_name", "Library"),
    ("base_model", "Made from"),
    ("datasets", "Data"),
    ("metrics", "Metrics"),
    ("tags", "Tags"),
)
_TITLES = {"other": "see the card", "unknown": "not stated"}


@lru_cache(maxsize=128)
def facts_of(matter: str) -> CardFacts:
    """Return what a front matter says; nothing for what cannot be read."""
    try:
        data = read_document(matter, "model card").data if matter.strip() else {}
    except SpecError:
        data = {}
    if not isinstance(data, dict):
        return CardFacts()
    return CardFacts(facts=_facts(data), results=_results(data), samples=_samples(data))


def _facts(data: dict[str, Any]) -> tuple[CardFact, ...]:
    found = []
    for key, title in _FACTS:
        items = tuple(_words(data.get(key)))
        if key == "license":
            items = tuple(_licence(data, item) for item in items)
        if items:
            link = data.get("license_link") if key == "license" else None
            found.append(CardFact(title=title, items=items, url=_web(link)))
    return tuple(found)


def _licence(data: dict[str, Any], name: str) -> str:
    given = _text(data.get("license_name")) if name == "other" else ""
    return given or _TITLES.get(name, name)


def _words(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [text for text in map(_text, items[:MAX_ITEMS]) if text]


def _text(value: Any, length: int = _TEXT) -> str:
    """Return a plain value as text; nothing for what has parts."""
    if value is None or isinstance(value, dict | list):
        return ""
    return str(value).strip()[:length]


def _web(value: Any) -> str | None:
    text = _text(value, 500)
    return text if re.match(r"https?://[^\s]+\Z", text) else None


def _results(data: dict[str, Any]) -> tuple[CardResult, ...]:
    rows = []
    for model in _maps(data.get("model-index")):
        for result in _maps(model.get("results")):
            for metric in _maps(result.get("metrics")):
                row = CardResult(
                    task=_named(result.get("task")),
                    dataset=_named(result.get("dataset")),
                    metric=_named(metric),
                    value=_number(metric.get("value")),
                )
                if row.value and row.metric:
                    rows.append(row)
    return tuple(rows[:MAX_RESULTS])


def _maps(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _named(value: Any) -> str:
    if not isinstance(value, dict):
        return _text(value)
    return _text(value.get("name")) or _text(value.get("type"))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        parts = [(_text(key), _number(part)) for key, part in list(value.items())[:8]]
        return ", ".join(f"{key} {number}" for key, number in parts if number)
    return _text(value)


def _samples(data: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts of `widget:`; examples with files from elsewhere are not loaded."""
    texts = [_text(item.get("text"), _SAMPLE) for item in _maps(data.get("widget")) if "src" not in item]
    return tuple(dict.fromkeys(text for text in texts if text))[:MAX_SAMPLES]
