"""Model cards: what their front matter adds to the form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitrine_api import views


def with_samples(fields: tuple[views.AnyField, ...], samples: Sequence[str]) -> tuple[views.AnyField, ...]:
    """Return the fields, the card's samples added to the first field of text that takes them."""
    place = next((at for at, field in enumerate(fields) if isinstance(field, views.TextField)), None)
    if place is None or not samples:
        return fields
    field = fields[place]
    assert isinstance(field, views.TextField)
    known = {example.value for example in field.examples}
    new = tuple(
        views.ValueExample(label=text, value=text)
        for text in samples
        if text not in known
        and len(text) >= field.min_length
        and (field.max_length is None or len(text) <= field.max_length)
    )
    return (*fields[:place], replace(field, examples=(*field.examples, *new)), *fields[place + 1 :])
