"""The values of `-i key=value`: read, and fitted to the types of the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrine.errors import Misuse

FILE_TYPES = frozenset({"image", "file"})


def parse_inputs(items: Iterable[str]) -> dict[str, str | Path]:
    """Read `key=value` (text), `key=@path` (a file) and `key=@@text` (text that begins with @).

    Raises Misuse naming the item.
    """
    values: dict[str, str | Path] = {}
    for item in items:
        key, mark, value = item.partition("=")
        key = key.strip()
        if not mark or not key:
            raise Misuse(
                f"`-i {item}` has no value", advice="Write -i key=value, or -i key=@file for a file."
            )
        if key in values:
            raise Misuse(f"`-i {key}=…` is given twice")
        values[key] = _value(key, value)
    return values


def fit_inputs(given: Mapping[str, str | Path], inputs: Sequence[Mapping[str, Any]]) -> dict[str, str | Path]:
    """Return the values as the inputs take them: a file for a text is read, a text for a file is refused.

    Names and values that are wrong otherwise are left to the platform, which says so by name.
    """
    types = {item.get("name"): item.get("type") for item in inputs}
    fitted = dict(given)
    for name, value in given.items():
        kind = types.get(name)
        if kind in FILE_TYPES and not isinstance(value, Path):
            article = "an image" if kind == "image" else "a file"
            raise Misuse(f"`{name}` is {article}", advice=f"Write -i {name}=@path/to/the/file.")
        if kind is not None and kind not in FILE_TYPES and isinstance(value, Path):
            fitted[name] = _text(name, value)
    return fitted


def _value(key: str, value: str) -> str | Path:
    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@"):
        return value
    path = Path(value[1:]).expanduser()
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise Misuse(f"`-i {key}={value}`: {value[1:] or 'the path'} {what}")
    return path


def _text(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"`{name}` takes text, and {path} cannot be read as text: {error}") from None
