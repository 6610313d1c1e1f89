"""Looking at a wheel that a stranger's build made, before anything else does."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from pathlib import Path, PurePosixPath

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from vitrine_builder.lock import Target

MAX_FILES = 100_000
MAX_METADATA = 4 << 20
_CHUNK = 1 << 20


class BadWheelError(Exception):
    """A wheel is not what it has to be; the message is a part of a sentence."""


def check_wheel(path: Path, name: str, version: Version, target: Target, max_bytes: int) -> None:
    """Check that `path` is a wheel of exactly `name` and `version`, for `target`, and unpacks harmlessly.

    Raises:
        BadWheelError: it is not.
    """
    try:
        found, found_version, _build, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        raise BadWheelError(f"it gave a file `{path.name[:100]}` that is no wheel") from None
    if (found, found_version) != (canonicalize_name(name), version):
        raise BadWheelError(f"it gave a wheel of `{found}=={found_version}`")
    if not tags & set(_tags(target)):
        raise BadWheelError(f"it gave a wheel for another platform (`{path.name[:100]}`)")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, max_bytes)
            _check_metadata(archive, name, version)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        raise BadWheelError("it gave a wheel that cannot be read") from None


def _tags(target: Target) -> Iterator[Tag]:
    python = tuple(int(part) for part in target.python.split("."))
    machine = target.platform.partition("-")[0]
    platforms = [f"linux_{machine}"]
    yield from cpython_tags(python, platforms=platforms)
    yield from compatible_tags(python, f"cp{python[0]}{python[1]}", platforms)


def _check_entries(archive: zipfile.ZipFile, max_bytes: int) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > max_bytes:
        raise BadWheelError("it gave a wheel that unpacks to too much")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        mode = entry.external_attr >> 16
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in path.parts[0:1]:
            raise BadWheelError(f"it gave a wheel with the path `{entry.filename[:100]}`")
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise BadWheelError(f"it gave a wheel with a link at `{entry.filename[:100]}`")
        with archive.open(entry) as file:
            while file.read(_CHUNK):
                pass  # to the end: only there a wrong checksum or length shows


def _check_metadata(archive: zipfile.ZipFile, name: str, version: Version) -> None:
    metadata = [
        entry
        for entry in archive.infolist()
        if entry.filename.endswith(".dist-info/METADATA") and entry.filename.count("/") == 1
    ]
    if len(metadata) != 1 or metadata[0].file_size > MAX_METADATA:
        raise BadWheelError("it gave a wheel without its description")
    headers = BytesHeaderParser().parsebytes(archive.read(metadata[0]))
    try:
        told = Version(str(headers["Version"]))
    except InvalidVersion:
        told = None
    if canonicalize_name(str(headers["Name"])) != canonicalize_name(name) or told != version:
        raise BadWheelError(f"it gave a wheel that calls itself `{headers['Name']}=={headers['Version']}`")
