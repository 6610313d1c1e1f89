"""What one input or output was like, in a few typed facts: enough to watch a model, not to read a person.

Facts of inputs are sizes and shapes, never content: numbers are told by sign and order of magnitude, texts
by their length. A choice is one of the author's own list, so it is named. Outputs are the model's words:
labels, numbers and confidences are kept, free text and files are told by size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import InputSummary, Output, OutputSummary

Facts = dict[str, float | int | str]

_FILES = frozenset({"image", "file"})
_LONGEST_LABEL = 200
_EXACT = 1 << 53


def summarise_input(name: str, declared_type: str, value: Any) -> InputSummary:
    """Summarise one checked input value; a file is `{"digest", "size", "media_type", …}`."""
    if declared_type in _FILES:
        facts: Facts = {"media_type": str(value.get("media_type") or "application/octet-stream")}
        digest, size = str(value["digest"]), int(value["size"])
    else:
        text = canonical_json(value)
        facts = _INPUT_FACTS.get(declared_type, _structure)(value)
        digest, size = sha256_bytes(text), len(text)
    return InputSummary(name=name, type=declared_type, digest=digest, size=size, facts=facts)


def summarise_output(output: Output) -> OutputSummary:
    """Summarise one stored output."""
    if output.value is None:
        return OutputSummary(
            name=output.name,
            type=output.type,
            digest=output.digest or "",
            size=output.size or 0,
            facts={"media_type": output.media_type or "application/octet-stream"},
        )
    value = json.loads(output.value)
    prediction, facts = _prediction(output.type, value)
    return OutputSummary(
        name=output.name,
        type=output.type,
        digest=sha256_bytes(output.value.encode()),
        size=len(output.value),
        prediction=prediction,
        facts=facts,
    )


def without_guessable(inputs: Sequence[InputSummary]) -> list[InputSummary]:
    """Return the summaries without the digests of plain values: a short value could be guessed from one."""
    return [item if "media_type" in item.facts else item.model_copy(update={"digest": ""}) for item in inputs]


def _magnitude(value: Any) -> Facts:
    number = float(value)
    if number == 0 or not math.isfinite(number):
        return {"magnitude": "0" if number == 0 else "not finite"}
    sign = "-" if number < 0 else ""
    return {"magnitude": f"{sign}1e{math.floor(math.log10(abs(number)))}"}


def _length(value: Any) -> Facts:
    text = str(value)
    return {"characters": len(text), "words": len(text.split())}


def _structure(value: Any) -> Facts:
    return {"kind": type(value).__name__, "items": len(value) if isinstance(value, (list, dict)) else 1}


_INPUT_FACTS: Mapping[str, Callable[[Any], Facts]] = {
    "number": _magnitude,
    "text": _length,
    "choice": lambda value: {"choice": str(value)},
    "json": _structure,
}


def _prediction(kind: str, value: Any) -> tuple[str | None, Facts]:
    if kind == "labels" and isinstance(value, list) and value:
        kind, value = "label", value[0]
    if kind == "label" and isinstance(value, Mapping):
        score = value.get("score")
        return str(value.get("label"))[:_LONGEST_LABEL], {"score": float(score)} if score is not None else {}
    if kind == "label":
        return str(value)[:_LONGEST_LABEL], {}
    if kind == "labels" and isinstance(value, Mapping) and value:
        best = max(value, key=lambda name: float(value[name]))
        return str(best)[:_LONGEST_LABEL], {"score": float(value[best])}
    if kind == "number" and isinstance(value, (int, float)):
        # Whole numbers beyond 64 bits can be stored nowhere.
        return None, {"value": value if abs(value) < _EXACT else float(value)}
    return None, _length(value) if isinstance(value, str) else _structure(value)
