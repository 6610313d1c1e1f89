"""Lists of Debian packages that somebody else wrote: names and versions, nothing that reaches further.

Source: Debian Policy, 5.6.1 (names) and 5.6.12 (versions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_PACKAGES = 200
MAX_BYTES = 64 * 1024

_NAME = re.compile(r"^[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+]$")
_VERSION = re.compile(r"^[0-9][A-Za-z0-9.+~:-]{0,98}$")
_COMMENT = re.compile(r"(^|\s)#.*$")


class PackageListError(Exception):
    """A list of Debian packages that cannot be used; the message names the culprit and what to write."""


def check_package(text: str) -> str:
    """Return `text`, a package's name or `name=version`, when it is one.

    A trailing `-` or `+` that apt would read as an order, options, patterns and paths are none.

    Raises:
        PackageListError: it is not.
    """
    name, equals, version = text.partition("=")
    if not _NAME.match(name) or not text.isascii():
        raise PackageListError(f"`{text[:80]}` is not the name of a Debian package; write one as `libgl1`")
    if equals and not _VERSION.match(version):
        raise PackageListError(f"`{text[:80]}` has no version of Debian; write `{name}` or `{name}=1.2-3`")
    return text


def check_packages(texts: Iterable[str]) -> tuple[str, ...]:
    """Return packages sorted, each once; raises PackageListError for others, or two versions of one."""
    checked = sorted({check_package(text) for text in texts})
    if len(checked) > MAX_PACKAGES:
        raise PackageListError(f"more than {MAX_PACKAGES} system packages; name only what your code calls")
    versions: dict[str, str] = {}
    for text in checked:
        name, _, version = text.partition("=")
        if version and versions.setdefault(name, version) != version:
            raise PackageListError(
                f"`{name}` is asked for in versions {versions[name]} and {version}; keep one"
            )
    return tuple(text for text in checked if "=" in text or text not in versions)


def parse_packages(data: bytes, name: str) -> tuple[str, ...]:
    """Read a file with one package a line, or several; `#` begins a comment. `name` is what errors call it.

    Raises:
        PackageListError: the first thing in it that is refused, with its line.
    """
    if len(data) > MAX_BYTES:
        raise PackageListError(f"{name}: the file has more than {MAX_BYTES} bytes; name one package a line")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise PackageListError(f"{name}: the file is not UTF-8 text") from None
    found = []
    for number, line in enumerate(lines, 1):
        for word in _COMMENT.sub("", line).split():
            try:
                found.append(check_package(word))
            except PackageListError as error:
                raise PackageListError(f"{name} line {number}: {error}") from None
    try:
        return check_packages(found)
    except PackageListError as error:
        raise PackageListError(f"{name}: {error}") from None
