"""Reading canonical JSON from strangers: one byte string stands for a value, and no other is taken."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from vitrine_common.digests import canonical_json
from vitrine_common.receipts.errors import Malformed

MAX_DEPTH = 32


def parse_canonical(data: bytes, what: str, *, limit: int) -> Any:
    """Return the JSON value whose canonical form is exactly `data`.

    Args:
        data: bytes from anybody.
        what: names them in errors: `the envelope`.
        limit: most bytes that are looked at.

    Raises:
        Malformed: too large, too deep, no JSON, a key twice, or not the canonical form.
    """
    value = parse_json(data, what, limit=limit)
    try:
        is_canonical = canonical_json(value) == data
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        raise Malformed(
            f"{what} is not written in its canonical form (sorted keys, no spaces); take the file as it was "
            "downloaded, without formatting it"
        )
    return value


def parse_json(data: bytes, what: str, *, limit: int) -> Any:
    """Return the JSON value in `data`, however it is laid out. Raises Malformed."""
    if len(data) > limit:
        raise Malformed(f"{what} has {len(data)} bytes; at most {limit} are read")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{what} is not UTF-8 text") from None
    _check_depth(text, what)
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON: {error}") from None


def _check_depth(text: str, what: str) -> None:
    """Count brackets before anything recurses over them; those in strings count too, which harms nobody."""
    depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"{what} is nested deeper than {MAX_DEPTH} levels")
        elif character in "]}":
            depth -= 1


def _without_twins(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"the key {key[:80]!r} stands twice in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no JSON")
