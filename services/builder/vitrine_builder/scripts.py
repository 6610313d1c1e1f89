"""Console scripts that work inside a sandbox, where the environment is at `/env`."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
from pathlib import Path

SHEBANG = b"#!/env/bin/python\n"


def relocate_scripts(tree: Path, python: Path, site_packages: Path) -> int:
    """Point every script in `tree/bin` that starts `python` at the environment's interpreter instead.

    The wheel's RECORD is told the new hashes. Files are replaced, never written to: what the installer
    put there may be a hard link into its cache. Returns how many scripts were changed.
    """
    changed: dict[Path, bytes] = {}
    for script in sorted((tree / "bin").glob("*")):
        if content := _relocated(script.read_bytes(), os.fsencode(python)):
            _replace(script, content, 0o755)
            changed[script] = content
    for record in site_packages.glob("*.dist-info/RECORD"):
        _correct_record(record, site_packages, changed)
    return len(changed)


def _relocated(content: bytes, python: bytes) -> bytes | None:
    """Return the script with its first lines replaced, or None where they do not start `python`."""
    head, _, rest = content.partition(b"\n")
    if head == b"#!/bin/sh" and rest.startswith(b"'''exec'"):
        # How installers write an interpreter's path that is too long for a kernel or has a space.
        command, _, rest = rest.partition(b"\n")
        _, _, rest = rest.partition(b"\n")
        return SHEBANG + rest if python in command else None
    starts = head.startswith(b"#!") and head[2:].strip().split(b" ")[0] == python
    return SHEBANG + rest if starts else None


def _correct_record(record: Path, site_packages: Path, changed: dict[Path, bytes]) -> None:
    rows = list(csv.reader(io.StringIO(record.read_text(encoding="utf-8"))))
    for row in rows:
        place = Path(os.path.normpath(site_packages / row[0]))
        if place in changed:
            digest = base64.urlsafe_b64encode(hashlib.sha256(changed[place]).digest()).rstrip(b"=")
            row[1:] = [f"sha256={digest.decode()}", str(len(changed[place]))]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    _replace(record, out.getvalue().encode(), 0o644)


def _replace(place: Path, content: bytes, mode: int) -> None:
    draft = place.with_name(f".{place.name}.new")
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(place)
