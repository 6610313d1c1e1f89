"""What only conda can provide, as one layer: solved to exact packages, linked without running any of them.

The channels are the operator's. The tool is rattler, the library of conda's own successors, in a child
process; no conda needs to be installed. A conda part is one `LockedPackage` of the lock, whose text names
every conda package with its hash, and its layer lies where the layer store looks for that package.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vitrine_builder import conda_worker
from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors, scrub
from vitrine_builder.layers import INSIDE, LayerStore
from vitrine_builder.lock import CONDA, LockedPackage, Target
from vitrine_builder.process import Bounds, ProcessTimeout, run_process
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.requirements import CondaPart
from vitrine_builder.workspace import Workspace
from vitrine_common.drafts import publish

SETTING = "VITRINE_BUILDER_CONDA_CHANNELS"
_SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}
_PASSED = ("SSL_CERT_FILE", "SSL_CERT_DIR", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_OWN = frozenset({"conda-meta", "CACHEDIR.TAG"})
_WAIT_SECONDS = 0.1


_COMES_ANYWAY = re.compile(r"(?:pip|python)(?:\W.*)?")


@dataclass(frozen=True)
class Conda:
    """Provides conda parts.

    Attributes:
        channels: addresses of the operator's channels, `file://…` for folders, the first one wins.
        environment: certificates and proxies.
        max_age: seconds for which a solution is used again.
    """

    workspace: Workspace
    layers: LayerStore
    target: Target
    channels: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    bounds: Bounds
    max_age: float

    async def lock(
        self, part: CondaPart, name: str, report: Report = silent, *, refresh: bool = False
    ) -> LockedPackage:
        """Return the exact packages that `part` of the file `name` comes to.

        Raises:
            BuildFailure: no channel is set or reachable, or it has no such packages.
        """
        self._check(part, name)
        place = self._memory / f"{self._key(part)}.json"
        packages = None if refresh else self._remembered(place)
        if packages is None:
            report(Step("resolve", "Choosing conda packages"))
            specs = [_strict(spec) for _, spec in part.specs]
            packages = (await self._ask("solve", specs, part, name))["packages"]
            _write(place, {"solved_at": time.time(), "packages": packages})
        entries = tuple(sorted(f"{each['subdir']}/{_pin(each)} sha256:{each['sha256']}" for each in packages))
        digest = hashlib.sha256("\n".join(entries).encode()).hexdigest()
        size = sum(each["size"] or 0 for each in packages)
        return LockedPackage(CONDA, digest[:12], (), size or None, conda=entries)

    async def provide(self, packages: Sequence[LockedPackage], report: Report = silent) -> None:
        """Make the layer of the conda part among `packages`, where there is one and it is missing.

        Raises:
            BuildFailure: a package cannot be had any more, or the disk is full.
        """
        for package in packages:
            while package.conda and self.layers.find(package) is None:
                with self.workspace.uses.claims() as claims:
                    mine = claims.take(f"making {self.layers.place(package).name}")
                    if mine and self.layers.find(package) is None:
                        report(Step("download", f"{len(package.conda)} conda packages"))
                        with disk_errors():
                            async with self.workspace.installing():
                                await self._make(package)
                if not mine:
                    await asyncio.sleep(_WAIT_SECONDS)

    async def _make(self, package: LockedPackage) -> None:
        with self.workspace.draft() as draft:
            tree = draft / "tree"
            specs = [_exact(entry) for entry in package.conda]
            answer = await self._ask("install", specs, None, "the lock", tree=str(tree), inside=INSIDE)
            if len(answer["packages"]) != len(package.conda):
                sentence = "The conda channel no longer has the packages that were chosen; push again."
                raise BuildFailure(FailureReason.NO_SUCH_VERSION, sentence)
            listing = await asyncio.to_thread(_tidy, tree)
            content = sum(entry[1] for entry in listing)
            description = {"content": content, "listing": listing}
            _write(draft / "layer.json", description)
            publish(draft, self.layers.place(package))

    def _check(self, part: CondaPart, name: str) -> None:
        first = next(spec for spec in part.specs if not _COMES_ANYWAY.fullmatch(spec[1]))
        if not self.channels:
            sentence = (
                f"{name} line {first[0]}: `{first[1]}` comes from a conda channel, and the platform has "
                f"none. Write what pip has under `- pip:`, or ask the operator to set {SETTING}."
            )
            raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence, first[1])
        known = {urlsplit(channel).path.rstrip("/").rpartition("/")[2] for channel in self.channels}
        for channel in part.channels:
            if channel.rpartition("/")[2] not in {*known, "defaults"}:
                sentence = (
                    f"{name}: the platform does not take packages from the channel `{channel}`, but from "
                    f"{', '.join(sorted(known))}. Drop it, or ask the operator to add it to {SETTING}."
                )
                raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence, channel)

    async def _ask(
        self, action: str, specs: Sequence[str], part: CondaPart | None, name: str, **more: str
    ) -> dict[str, Any]:
        machine, _, libc = self.target.platform.partition("-manylinux_")
        asked = {
            "do": action,
            "channels": list(self.channels),
            "specs": list(specs),
            "subdir": _SUBDIRS.get(machine, f"linux-{machine}"),
            "virtual": {"__unix": "0", "__linux": "5", "__glibc": libc.replace("_", ".") or "2.28"},
            # The sandbox's own interpreter runs what is installed.
            "constraints": [f"python {self.target.python}.*"],
            "cache": str(self._memory),
            **more,
        }
        self._memory.mkdir(parents=True, exist_ok=True)
        passed = {key: value for key, value in self.environment.items() if key in _PASSED}
        try:
            finished = await run_process(
                [sys.executable, "-I", "-B", conda_worker.__file__],
                bounds=self.bounds,
                environment={"PATH": "/usr/bin:/bin", "HOME": str(self._memory), **passed},
                directory=self._memory,
                stdin=json.dumps(asked).encode(),
                keep_open=(self.workspace.lifeline,),
            )
        except ProcessTimeout:
            sentence = f"The conda channel did not deliver within {self.bounds.seconds:g} seconds."
            raise BuildFailure(FailureReason.TIMEOUT, sentence) from None
        answer = json.loads(finished.stdout) if finished.returncode == 0 else {}
        if "packages" in answer:
            return dict(answer)
        raise _failure(answer, finished.stderr, part, name)

    @property
    def _memory(self) -> Path:
        return self.workspace.root / ".builder" / "conda"

    def _key(self, part: CondaPart) -> str:
        states = [_state(channel) for channel in self.channels]
        parts = [part.text, *self.channels, *states, self.target.python, self.target.platform]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _remembered(self, place: Path) -> list[dict[str, Any]] | None:
        try:
            kept = json.loads(place.read_bytes())
            fresh = 0 <= time.time() - kept["solved_at"] < self.max_age
            return list(kept["packages"]) if fresh else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _failure(answer: dict[str, Any], log: str, part: CondaPart | None, name: str) -> BuildFailure:
    words = scrub(str(answer.get("words", "")))
    tail = tuple(line for line in (words or scrub(log)).splitlines() if line.strip())[-40:]
    if answer.get("failure") == "unreachable":
        sentence = f"No conda channel can be reached; tell the operator of the platform ({SETTING})."
        return BuildFailure(FailureReason.INDEX_UNREACHABLE, sentence, None, tail)
    if answer.get("failure") != "unsatisfiable":
        sentence = "Conda packages could not be installed; the log tells more."
        return BuildFailure(FailureReason.INTERNAL, sentence, None, tail)
    specs = part.specs if part else ()
    named = [(line, spec) for line, spec in specs if f" {spec.split('=')[0].split()[0]} " in f"{words} "]
    if "No candidates were found for" in words and named:
        line, spec = named[0]
        sentence = f"{name} line {line}: no conda channel of the platform has `{spec}`; check its spelling."
        return BuildFailure(FailureReason.NO_SUCH_PACKAGE, sentence, spec, tail)
    line, spec = (named or list(specs) or [(0, "")])[0]
    where = f"{name} line {line}: " if line else ""
    said = " ".join(words.split())[:300]
    return BuildFailure(FailureReason.CONFLICT, f"{where}the conda packages contradict: {said}", spec, tail)


def _pin(package: Mapping[str, Any]) -> str:
    return f"{package['name']}={package['version']}={package['build']}"


def _strict(spec: str) -> str:
    """Write `name=1.2=build` of an environment file as a match specification: `name 1.2.* build`."""
    match = re.match(r"^([\w.-]+)\s*=\s*([^=\s]+)(?:\s*=\s*(\S+))?$", spec)
    if match is None:
        return spec
    name, version, build = match.groups("")
    fuzzy = version if version.endswith("*") or set(version) & set("<>!~|,") else f"{version}.*"
    return f"{name} {fuzzy} {build}".strip()


def _exact(entry: str) -> str:
    """Return the match specification of exactly one package: name, version, build and hash."""
    pin, _, digest = entry.partition(" sha256:")
    name, version, build = pin.partition("/")[2].split("=")
    return f"{name} =={version} {build}[sha256={digest}]"


def _state(channel: str) -> str:
    """Return the state of a channel that is a folder: when its lists of packages changed."""
    if not channel.startswith("file:"):
        return ""
    folder = Path(unquote(urlsplit(channel).path))
    lists = sorted(folder.glob("*/repodata.json"))
    return json.dumps([(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in lists])


def _tidy(tree: Path) -> list[tuple[str, int, bool]]:
    """Make `tree` a layer: no notes of the installer, no links, nothing to be written; list its files."""
    for name in _OWN:
        path = tree / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _replace_links(tree)
    listing = []
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            continue
        executable = bool(status.st_mode & 0o111)
        if status.st_nlink > 1 and stat.S_IMODE(status.st_mode) & 0o222:
            _own(path)  # the package cache keeps its own modes
        path.chmod(0o555 if executable else 0o444)
        listing.append((str(path.relative_to(tree)), status.st_size, executable))
    return listing


def _replace_links(tree: Path) -> None:
    """Put what symbolic links within the tree lead to in their place; the others go: they lead anywhere."""
    root = tree.resolve()
    for path in [each for each in tree.rglob("*") if each.is_symlink()]:
        target = path.resolve()
        path.unlink()
        if not target.is_relative_to(root) or path.is_relative_to(target):
            continue
        if target.is_dir():
            shutil.copytree(
                target, path, copy_function=os.link, symlinks=False, ignore_dangling_symlinks=True
            )
        elif target.is_file():
            os.link(target, path)


def _own(path: Path) -> None:
    draft = path.with_name(f".{path.name}.own")
    shutil.copyfile(path, draft)
    draft.replace(path)


def _write(place: Path, value: Mapping[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}.{time.monotonic_ns()}")
    draft.write_text(json.dumps(value))
    draft.replace(place)
