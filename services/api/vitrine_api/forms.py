"""Reading plain fields of a form."""

from __future__ import annotations

from starlette.datastructures import FormData

MAX_TEXT = 2000


def text_of(form: FormData, name: str) -> str:
    """Return the field as text; empty where it is missing or a file."""
    value = form.get(name)
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def texts_of(form: FormData, name: str) -> list[str]:
    """Return every value of a repeated field."""
    return [value[:MAX_TEXT] for value in form.getlist(name) if isinstance(value, str)]
