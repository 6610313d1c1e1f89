"""A wheel's files where an environment has them, without running any of its code.

Source: binary distribution format (PyPA), "Installing a wheel". Files are hard links to what the installer
unpacked; those that have to differ are written anew.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from vitrine_builder.failures import WHEEL_REFUSED, BuildFailure, FailureReason
from vitrine_builder.lock import LockedPackage
from vitrine_builder.scripts import console_scripts, relocated

MOST_FILES = 100_000
"""Of one wheel. The largest of the world have some tens of thousands."""
MOST_FOLDERS_DEEP = 60
_BYTECODE = "__pycache__"


def refused(package: LockedPackage, why: str) -> BuildFailure:
    """Return the failure of a wheel that the platform does not install."""
    culprit = f"{package.name}=={package.version}"
    return BuildFailure(FailureReason.INVALID_WHEEL, WHEEL_REFUSED.format(culprit), culprit, (why,))


class WheelRefused(Exception):
    """What a wheel holds goes beyond any honest package; says how."""


def installed_from(scratch: Path, packages: list[LockedPackage]) -> dict[LockedPackage, Path]:
    """Find the unpacked wheel of each package by the links that the installer made to it in `scratch`.

    A wheel may hold files that look like another's, so each is asked for its own name.

    Raises:
        BuildFailure: the installer has left something else than one unpacked wheel for each package.
    """
    wanted = {canonicalize_name(package.name): package for package in packages}
    found: dict[LockedPackage, Path] = {}
    for entry in sorted(scratch.glob("*.dist-info/METADATA")):
        wheel = entry.readlink().parent.parent
        own = _dist_info(wheel)
        package = wanted.get(canonicalize_name(own.removesuffix(".dist-info").split("-")[0]))
        if package is not None:
            found[package] = wheel
    missing = [package for package in packages if package not in found]
    if missing or len(set(found.values())) != len(packages):
        culprit = f"{missing[0].name}=={missing[0].version}" if missing else None
        sentence = f"The wheel of `{culprit}` is not what its name says; the platform does not install it."
        raise BuildFailure(FailureReason.INVALID_WHEEL, sentence, culprit)
    return found


def _dist_info(wheel: Path) -> str:
    names = [entry.name for entry in os.scandir(wheel) if entry.name.endswith(".dist-info")]
    return names[0] if len(names) == 1 else ""


@dataclass
class WheelTree:
    """Lays out one unpacked wheel below `tree`, which is laid out like an environment.

    `content` counts the bytes of its files; nothing of it depends on where or when it was made.
    """

    wheel: Path
    tree: Path
    python: str
    content: int = 0
    _folders: set[str] = field(default_factory=set)
    _moved: dict[str, str] = field(default_factory=dict)
    _written: dict[str, bytes] = field(default_factory=dict)

    @property
    def site(self) -> str:
        """Where modules lie, relative to the tree."""
        return f"lib/python{self.python}/site-packages"

    def lay(self) -> int:
        """Make the tree; return the bytes of its content.

        Raises:
            WheelRefused: it has too many files, or they lie too deep.
            OSError: the disk is full.
        """
        own = _dist_info(self.wheel)
        stem = own.removesuffix(".dist-info")
        record = f"{own}/RECORD"
        for relative, status in _files(self.wheel):
            place = self._place(relative, f"{stem}.data/", stem.split("-")[0])
            if place is None or relative in {record, f"{own}/INSTALLER", f"{own}/direct_url.json"}:
                continue
            self._put(relative, place, status)
        entry_points = self.wheel / own / "entry_points.txt"
        if entry_points.is_file():
            for name, content in console_scripts(entry_points.read_text(errors="replace")).items():
                self._write(f"bin/{name}", content, 0o555)
        with contextlib.suppress(FileNotFoundError, UnicodeDecodeError, csv.Error):
            self._write(f"{self.site}/{record}", self._record((self.wheel / record).read_text()), 0o444)
        return self.content

    def _place(self, relative: str, data: str, name: str) -> str | None:
        if not relative.startswith(data):
            return f"{self.site}/{relative}"
        scheme, _, rest = relative.removeprefix(data).partition("/")
        schemes = {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": "bin",
            "data": ".",
            "headers": f"include/site/python{self.python}/{name}",
        }
        if not rest or scheme not in schemes:
            return None
        return os.path.normpath(f"{schemes[scheme]}/{rest}")

    def _put(self, relative: str, place: str, status: os.stat_result) -> None:
        source = f"{self.wheel}/{relative}"
        if place.startswith("bin/"):
            self._moved[relative] = place
            self._write(place, relocated(Path(source).read_bytes()), 0o555)
            return
        if place != f"{self.site}/{relative}":
            self._moved[relative] = place
        self._parent(place)
        target = f"{self.tree}/{place}"
        # A mode belongs to the inode, so the installer's cache becomes read-only with it: it only ever links
        # and unlinks its files.
        mode = 0o555 if status.st_mode & 0o111 else 0o444
        if stat.S_IMODE(status.st_mode) != mode:
            Path(source).chmod(mode)
        if relative in self._moved:
            Path(target).unlink(missing_ok=True)
        os.link(source, target)
        self.content += status.st_size

    def _write(self, place: str, content: bytes, mode: int) -> None:
        self._parent(place)
        target = Path(f"{self.tree}/{place}")
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        self._written[place] = content
        self.content += len(content)

    def _parent(self, place: str) -> None:
        folder = place.rpartition("/")[0]
        if folder not in self._folders:
            (self.tree / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)

    def _record(self, text: str) -> bytes:
        """Return the wheel's RECORD with what was moved and written in its place."""
        rows = []
        for row in csv.reader(io.StringIO(text)):
            moved = self._moved.get(row[0]) if row else None
            rows.append([os.path.relpath(moved, self.site), *row[1:]] if moved else row)
        known = {row[0]: row for row in rows if row}
        for place, content in self._written.items():
            relative = os.path.relpath(place, self.site)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if relative not in known:
                rows.append(known.setdefault(relative, [relative]))
            known[relative][1:] = [f"sha256={digest}", str(len(content))]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(rows)
        return out.getvalue().encode()


def _files(wheel: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every regular file in a stable order; a link or device out of a wheel would point anywhere.

    Bytecode that a wheel brings is left out: it would be believed, whatever its source says.
    """
    waiting = [""]
    count = 0
    while waiting:
        folder = waiting.pop()
        folders = []
        if folder.count("/") > MOST_FOLDERS_DEEP:
            raise WheelRefused(f"its folders lie more than {MOST_FOLDERS_DEEP} deep")
        for entry in sorted(os.scandir(f"{wheel}/{folder}"), key=lambda entry: entry.name):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if entry.name != _BYTECODE:
                    folders.append(f"{folder}{entry.name}/")
            elif stat.S_ISREG(status.st_mode):
                count += 1
                if count > MOST_FILES:
                    raise WheelRefused(f"it has more than {MOST_FILES} files")
                yield f"{folder}{entry.name}", status
        waiting += reversed(folders)
