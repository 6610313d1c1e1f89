"""A conda channel that a test makes itself: packages by hand, indexed as a server would have them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PLACEHOLDER = "/opt/" + "placeholder_" * 18
"""The prefix that packages are built for; whoever installs them writes the real one in its place."""

_INDEX = """
import asyncio, os, sys
from pathlib import Path
from rattler.index import index_fs
asyncio.run(index_fs(Path(sys.argv[1]), force=True))
os._exit(0)  # its threads do not live through the end of an interpreter
"""


def make_conda_package(
    channel: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    *,
    depends: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    subdir: str = "linux-64",
) -> Path:
    """Write a package; files in `bin` are executable, and where the placeholder stands is told."""
    place = channel / subdir / f"{name}-{version}-0.tar.bz2"
    place.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    with tarfile.open(place, "w:bz2") as archive:
        for relative, text in files.items():
            _add(archive, relative, text.encode())
            paths.append(_described(relative, text))
        for relative, target in (links or {}).items():
            entry = tarfile.TarInfo(relative)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
            paths.append({"_path": relative, "path_type": "softlink"})
        index = {
            "name": name,
            "version": version,
            "build": "0",
            "build_number": 0,
            "depends": list(depends),
            "subdir": subdir,
        }
        if subdir == "noarch":
            index["noarch"] = "generic"
        _add(archive, "info/index.json", json.dumps(index).encode())
        _add(archive, "info/paths.json", json.dumps({"paths": paths, "paths_version": 1}).encode())
    return place


async def index_channel(channel: Path) -> str:
    """Write the channel's lists of packages; return its address."""
    (channel / "noarch").mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _INDEX, str(channel)], check=True)
    return channel.as_uri()


def _described(relative: str, text: str) -> dict[str, object]:
    data = text.encode()
    found: dict[str, object] = {
        "_path": relative,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if PLACEHOLDER in text:
        found |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return found


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = 0o755 if name.startswith("bin/") else 0o644
    archive.addfile(entry, io.BytesIO(data))
