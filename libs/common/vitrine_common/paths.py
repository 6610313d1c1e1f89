"""Paths inside a bundle: POSIX, relative, and never out of it."""

import re
import unicodedata
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
_DRIVE = re.compile(r"^[A-Za-z]:")


def path_fault(path: str) -> str | None:
    """Say what is wrong with `path` as a path inside a bundle, or return None when nothing is."""
    return next((sentence for is_wrong, sentence in _FAULTS if is_wrong(path)), None)


def _is_unprintable(path: str) -> bool:
    return any(unicodedata.category(character) in {"Cc", "Cs"} for character in path)


def _is_long(path: str) -> bool:
    """Count bytes as a file system would; what cannot be encoded was refused before."""
    return len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in path.split("/")
    )


_FAULTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda path: not path, "the path is empty"),
    (_is_unprintable, "the path has a control character"),
    (lambda path: "\\" in path, "the path has a backslash; write forward slashes"),
    (
        lambda path: path.startswith("/") or _DRIVE.match(path) is not None,
        "the path is absolute; write it relative to the directory of vitrine.yaml",
    ),
    (
        lambda path: ".." in path.split("/"),
        "the path leaves the directory with `..`; only files of the bundle can be used",
    ),
    (_is_long, f"the path is longer than {MAX_PATH_BYTES} bytes, or a name in it than {MAX_NAME_BYTES}"),
)


def normalise_path(path: str) -> str:
    """Return `path` without `.` parts and doubled or trailing slashes; the bundle itself is ``.``.

    Raises ValueError with the sentence of `path_fault`.
    """
    fault = path_fault(path)
    if fault:
        raise ValueError(fault)
    return "/".join(part for part in path.split("/") if part not in {"", "."}) or "."


def glob_matches(path: str, pattern: str) -> bool:
    """Tell whether `path` matches `pattern` as `pathlib.Path.glob` reads it, without looking at any disk."""
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    return _matches(path.split("/"), parts)


def _matches(names: list[str], parts: list[str]) -> bool:
    """Match name by name; `reached` holds how many parts of the pattern may be used up so far."""
    reached = _skip_deep({0}, parts)
    for name in names:
        stepped = set()
        for place in reached:
            if place < len(parts) and parts[place] == "**":
                stepped.add(place)
            elif place < len(parts) and fnmatchcase(name, parts[place]):
                stepped.add(place + 1)
        reached = _skip_deep(stepped, parts)
    return len(parts) in reached


def _skip_deep(reached: set[int], parts: list[str]) -> set[int]:
    """Let every `**` that is reached stand for no directory at all, unless it ends the pattern."""
    skipped = set(reached)
    for place in range(len(parts) - 1):
        if place in skipped and parts[place] == "**":
            skipped.add(place + 1)
    return skipped


def _file_path(path: str) -> str:
    normal = normalise_path(path)
    if normal == ".":
        raise ValueError("the path names the directory itself; name a file")
    return normal


def _checked_path(path: str) -> str:
    fault = path_fault(path)
    if fault:
        raise ValueError(fault)
    return path


FilePath = Annotated[
    str, AfterValidator(_file_path), Field(description="A file of the bundle, relative to vitrine.yaml.")
]
"""A file inside the bundle, normalised."""

DirectoryPath = Annotated[
    str, AfterValidator(normalise_path), Field(description="A directory of the bundle; `.` is the bundle.")
]
"""A directory inside the bundle, normalised; ``.`` is the bundle itself."""

PathPattern = Annotated[
    str,
    AfterValidator(_checked_path),
    Field(description="A file, a directory ending with `/`, or a pattern such as `results/*.png`."),
]
"""A path or glob pattern inside the working directory, kept as written (a trailing slash has meaning)."""
