"""Finding the files that a run leaves. The tenant made them: nothing here follows a link or blocks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator

MAX_FILES = 10_000
"""Most files that one run may leave as outputs."""


class Found:
    """A regular file at `name` (relative to the working directory)."""

    def __init__(self, name: str, status: os.stat_result, outputs: tuple[str, ...]) -> None:
        self.name = name
        self.status = status
        self.outputs = outputs

    @property
    def version(self) -> tuple[int, ...]:
        """Changes whenever the file is written or replaced."""
        return (self.status.st_ino, self.status.st_size, self.status.st_mtime_ns)


def expression(pattern: str) -> re.Pattern[str]:
    """Translate a glob, as `pathlib.Path.glob` reads it, or a path; a directory means all files below it."""
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += r".*" if last else r"(?:[^/]+/)*"
        else:
            text += _segment(part) + ("" if last else "/")
    return re.compile(rf"(?s:{text}(?:/.*)?)\Z" if parts else r"(?s:.*)\Z")


def _segment(part: str) -> str:
    text, index = "", 0
    while index < len(part):
        character = part[index]
        end = part.find("]", index + 2) if character == "[" else -1
        if end > 0:
            body = part[index + 1 : end].replace("\\", r"\\")
            negated = body.startswith("!")
            text += "[" + ("^/" if negated else "") + body[negated:] + "]"
            index = end
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character))
        index += 1
    return text


def start_directory(pattern: str) -> str:
    """Return the directory below which all matches of a pattern lie."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if set("*?[") & set(part):
            return "/".join(parts) or "."
        if part not in {"", "."}:
            parts.append(part)
    return "/".join(parts[:-1]) or "."


def walk(root: str, start: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path relative to `root`, status) of the regular files below `root/start`, sorted."""
    if start != "." and os.path.realpath(os.path.join(root, start)) != os.path.join(root, start):
        return
    for directory, children, names in os.walk(os.path.join(root, start), followlinks=False):
        children.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield os.path.relpath(path, root), status


def find(
    root: str, patterns: list[tuple[str, str]], is_changed: Callable[[str, os.stat_result], bool]
) -> list[Found]:
    """Return the files that match any (pattern, output name) and that the run wrote, sorted by name."""
    matched: dict[str, tuple[os.stat_result, list[str]]] = {}
    for pattern, output in patterns:
        matcher = expression(pattern)
        for path, status in walk(root, start_directory(pattern)):
            if matcher.match(path) and is_changed(path, status):
                outputs = matched.setdefault(path, (status, []))[1]
                if output not in outputs:
                    outputs.append(output)
    return [Found(path, status, tuple(names)) for path, (status, names) in sorted(matched.items())]


def open_file(root: str, found: Found) -> int:
    """Return a descriptor of the very file that was found; raises `OSError` when it is no longer that."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    *parents, name = found.name.split("/")
    try:
        for parent in parents:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(parent, flags, dir_fd=directory)
            os.close(directory)
            directory = inner
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{found.name} is not a regular file")
    return descriptor
