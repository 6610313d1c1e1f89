"""The Python that a project was made with, and the one that is here."""

from __future__ import annotations

from vitrine_common.spec.model import LANGUAGE


def python_notes(file: str, says: str, version: object) -> list[str]:
    """Say that another Python is used than a file names, where that is so."""
    named = ".".join(str(version).split(".")[:2]) if version is not None else ""
    here = LANGUAGE.removeprefix("python-")
    if named in {"", here}:
        return []
    return [f"{file} {says} Python {named}; this platform has {here}, which is used"]
