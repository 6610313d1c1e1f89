"""A bundle: the files of a pushed directory and its `vitrine.yaml`, named by one digest."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitrine_common.digests import Digest, digest_of_json
from vitrine_common.errors import Invalid, Problem
from vitrine_common.paths import normalise_path, path_fault
from vitrine_common.spec.errors import SpecProblem
from vitrine_common.spec.model import Spec

SPEC_FILES = ("vitrine.yaml", "vitrine.yml", "vitrine.json")
DATASET_SPEC: dict[str, Any] = {"kind": "dataset"}
"""Stands in a dataset's manifest where a version has its specification; no version can have it."""
RESERVED_PREFIXES = (".vitrine/",)
MAX_PROBLEMS = 30


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """How large a bundle may be."""

    files: int = 20_000
    file_bytes: int = 20 << 30
    total_bytes: int = 50 << 30


DEFAULT_BUNDLE_LIMITS = BundleLimits()


class BundleError(Invalid):
    """A bundle cannot be accepted; `problems` names the files."""

    title = "The bundle is not valid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        listed = tuple(problems)
        lines = [f"{item.field}: {item.message}" if item.field else item.message for item in listed]
        super().__init__("\n".join(lines[:MAX_PROBLEMS]), listed[:MAX_PROBLEMS])


class FileEntry(BaseModel):
    """One file of a bundle. Only the executable bit of its mode is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    digest: Digest
    size: int = Field(ge=0, le=1 << 50)
    executable: bool = False

    @field_validator("path")
    @classmethod
    def _is_safe(cls, path: str) -> str:
        fault = entry_fault(path)
        if fault:
            raise ValueError(fault)
        return path


class Manifest(BaseModel):
    """What a version consists of: its spec as plain JSON, and its files in the order of their paths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: dict[str, Any]
    files: tuple[FileEntry, ...]

    @field_validator("files")
    @classmethod
    def _in_order(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        return tuple(sorted(files, key=lambda entry: entry.path))

    @property
    def digest(self) -> str:
        """Return the version digest: SHA-256 over the canonical JSON of spec and files.

        It depends on nothing else: not on who pushes, when, from which machine or in which order.
        """
        return digest_of_json(self.model_dump(mode="json"))

    @property
    def total_bytes(self) -> int:
        """Return the sum of the files' sizes."""
        return sum(entry.size for entry in self.files)

    @property
    def directories(self) -> frozenset[str]:
        """Return every directory that the files lie in."""
        return frozenset(
            "/".join(parts[:depth])
            for entry in self.files
            for parts in [entry.path.split("/")]
            for depth in range(1, len(parts))
        )

    def entry(self, path: str) -> FileEntry | None:
        """Return the file at `path`, or None."""
        return next((entry for entry in self.files if entry.path == path), None)


def entry_fault(path: str) -> str | None:
    """Say what is wrong with `path` as the path of a bundle's file, or return None."""
    fault = path_fault(path)
    if fault:
        return fault
    if path == "." or normalise_path(path) != path:
        return "the path has `.`, doubled or trailing slashes"
    if path.startswith(RESERVED_PREFIXES):
        return "the name is reserved for the platform; rename the directory"
    return None


def check_manifest(manifest: Manifest, limits: BundleLimits = DEFAULT_BUNDLE_LIMITS) -> list[Problem]:
    """Return what makes the files unacceptable: doubles, files inside files, too many, too large."""
    problems = _conflicts([entry.path for entry in manifest.files])
    problems += [
        Problem(entry.path, f"has {entry.size} bytes; at most {limits.file_bytes} are taken")
        for entry in manifest.files
        if entry.size > limits.file_bytes
    ]
    if len(manifest.files) > limits.files:
        message = f"the bundle has {len(manifest.files)} files; at most {limits.files} are taken"
        problems.append(Problem("", message + ": name what is not needed in .vitrineignore"))
    if manifest.total_bytes > limits.total_bytes:
        message = f"the bundle has {manifest.total_bytes} bytes; at most {limits.total_bytes} are taken"
        problems.append(Problem("", message + ": name what is not needed in .vitrineignore"))
    return problems


def _conflicts(paths: list[str]) -> list[Problem]:
    seen = Counter(paths)
    problems = [Problem(path, "is named twice") for path, count in seen.items() if count > 1]
    for path in seen:
        parts = path.split("/")
        parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        problems += [
            Problem(path, f"lies in `{parent}`, which is a file") for parent in sorted(parents & seen.keys())
        ]
    return problems


def bundle_warnings(manifest: Manifest) -> list[str]:
    """Return what the author should know although the bundle is accepted."""
    by_folded: dict[str, str] = {}
    found = []
    for entry in manifest.files:
        folded = unicodedata.normalize("NFC", entry.path).casefold()
        other = by_folded.setdefault(folded, entry.path)
        if other != entry.path:
            found.append(f"{entry.path} and {other} differ only by case: some systems keep only one of them")
    return found


def check_spec_files(spec: Spec, manifest: Manifest, filename: str = "vitrine.yaml") -> list[Problem]:
    """Return the files that the spec names and the bundle lacks or has empty; trained ones may be missing."""
    sizes = {entry.path: entry.size for entry in manifest.files}
    problems: list[Problem] = []
    for field, path in spec.named_files().items():
        if path not in sizes:
            message = f"`{path}` is not in the bundle; add the file, or check .vitrineignore"
            problems.append(SpecProblem(field, message, filename))
        elif sizes[path] == 0 and not field.endswith("requirements_file"):
            problems.append(SpecProblem(field, f"`{path}` is empty (0 bytes)", filename))
    return problems + _claim_problems(spec, manifest, filename)


def _claim_problems(spec: Spec, manifest: Manifest, filename: str) -> list[Problem]:
    """Return the claims whose dataset is a path that the bundle lacks."""
    files, directories = {entry.path for entry in manifest.files}, manifest.directories | {"."}
    problems: list[Problem] = []
    for index, claim in enumerate(spec.claims or ()):
        path = claim.bundle_path
        if path is None or path in directories or (path in files and claim.extend is None):
            continue
        message = f"`{path}` is not in the bundle; add it, or `vitrine data push` it and write `name@version`"
        if path in files:
            message = f"`{path}` is a file, and `extend` needs a directory that files can be added to"
        problems.append(SpecProblem(f"claims[{index}].dataset", message, filename))
    return problems


def check_runnable(spec: Spec, manifest: Manifest, filename: str = "vitrine.yaml") -> list[Problem]:
    """Return what keeps a bundle from being run as a version: `check_spec_files`, trained files included."""
    problems = check_spec_files(spec, manifest, filename)
    if spec.onnx is not None and "onnx" not in {problem.field for problem in problems}:
        entry = manifest.entry(spec.onnx)
        if entry is None or entry.size == 0:
            what = "is not in the bundle" if entry is None else "is empty (0 bytes)"
            hint = "train it first: `vitrine train`" if spec.train else "export it and push again"
            problems.append(SpecProblem("onnx", f"`{spec.onnx}` {what}; {hint}", filename))
    return problems
