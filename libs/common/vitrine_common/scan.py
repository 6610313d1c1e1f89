"""Reading a directory into a bundle: which files belong to it, and their digests."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from vitrine_common.bundle import (
    DATASET_SPEC,
    DEFAULT_BUNDLE_LIMITS,
    SPEC_FILES,
    BundleError,
    BundleLimits,
    FileEntry,
    Manifest,
    check_manifest,
    check_spec_files,
    entry_fault,
)
from vitrine_common.digests import sha256_file
from vitrine_common.errors import Problem
from vitrine_common.projects import find_bare_model, find_project
from vitrine_common.signature import resolved
from vitrine_common.spec.document import MAX_BYTES
from vitrine_common.spec.model import Spec
from vitrine_common.spec.parsing import load_spec

IGNORE_FILE = ".vitrineignore"
MAX_IGNORE_BYTES = 64 * 1024
DEFAULT_IGNORES = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[co]",
    ".venv/",
    "venv/",
    ".env",
    ".env.*",
    "!.env.example",
    ".ssh/",
    ".netrc",
    "id_rsa*",
    "id_ed25519*",
    ".mypy_cache/",
    ".ruff_cache/",
    ".pytest_cache/",
    ".ipynb_checkpoints/",
    "node_modules/",
    ".DS_Store",
    ".vitrine/",
    ".cog/",
    IGNORE_FILE,
)
"""Never part of a bundle unless `.vitrineignore` takes it back in (`!name`): caches, and what is secret."""

Report = Callable[[str, int], None]
"""Called with path and size after each hashed file."""


@dataclass
class Scan:
    """A directory read into a bundle. `sources` says where each file's bytes lie."""

    manifest: Manifest
    spec: Spec
    spec_file: str
    sources: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What the author should know although the directory is accepted."""


def scan_directory(
    directory: Path, limits: BundleLimits = DEFAULT_BUNDLE_LIMITS, report: Report | None = None
) -> Scan:
    """Read `directory` into a bundle, hashing file by file.

    Symbolic links inside the directory stand for the content that they point to; links out of it are
    refused. Raises `SpecError` for the model file and `BundleError` for the rest; both name the culprits.
    """
    root = directory.resolve()
    if not root.is_dir():
        raise BundleError([Problem(str(directory), "is not a directory; give the one with vitrine.yaml")])
    spec, spec_file, notes = _spec_of(root)
    sources = _collect(root, limits)
    spec = resolved(spec, sources.get, spec_file)
    entries = []
    for path, source in sorted(sources.items()):
        entries.append(_entry(path, source))
        if report:
            report(path, entries[-1].size)
    manifest = Manifest(spec=spec.plain(), files=tuple(entries))
    problems = check_manifest(manifest, limits) + check_spec_files(spec, manifest, spec_file)
    if problems:
        raise BundleError(problems)
    return Scan(manifest, spec, spec_file, sources, notes)


def scan_dataset(
    path: Path, limits: BundleLimits = DEFAULT_BUNDLE_LIMITS, report: Report | None = None
) -> tuple[Manifest, dict[str, Path]]:
    """Read a directory, or one file, into a dataset; return its manifest and where each file's bytes lie.

    Ignored are the files that no bundle has either. Raises `BundleError` naming the culprits.
    """
    root = path.resolve()
    if root.is_file():
        fault = entry_fault(root.name)
        if fault:
            raise BundleError([Problem(root.name, fault)])
        sources = {root.name: root}
    elif root.is_dir():
        sources = _collect(root, limits)
    else:
        raise BundleError([Problem(str(path), "does not exist; give a file or a directory")])
    if not sources:
        raise BundleError([Problem(str(path), "has no files; a dataset has at least one")])
    entries = []
    for name, source in sorted(sources.items()):
        entries.append(_entry(name, source))
        if report:
            report(name, entries[-1].size)
    manifest = Manifest(spec=DATASET_SPEC, files=tuple(entries))
    problems = check_manifest(manifest, limits)
    if problems:
        raise BundleError(problems)
    return manifest, sources


def _spec_of(directory: Path) -> tuple[Spec, str, tuple[str, ...]]:
    """Return the spec, its file's name, and notes; a project of another tool needs no spec of its own."""
    if not any((directory / name).is_file() for name in SPEC_FILES):
        project = find_project(directory) or find_bare_model(directory)
        if project is not None:
            return project.spec, project.file, project.notes
    return *read_spec(directory), ()


def read_spec(directory: Path) -> tuple[Spec, str]:
    """Return the spec of a directory and the name of its file. Raises SpecError and BundleError."""
    found = [name for name in SPEC_FILES if (directory / name).is_file()]
    if not found:
        raise BundleError([Problem("vitrine.yaml", "is missing; `vitrine init` writes one")])
    if len(found) > 1:
        raise BundleError([Problem(found[1], f"stands beside {found[0]}; keep one of them")])
    file = directory / found[0]
    if file.stat().st_size > MAX_BYTES:
        raise BundleError([Problem(found[0], f"is larger than {MAX_BYTES // 1024} KiB")])
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError([Problem(found[0], "is not UTF-8 text; save it as UTF-8")]) from error
    return load_spec(text, found[0]), found[0]


def ignore_rules(directory: Path) -> GitIgnoreSpec:
    """Return the rules of `.vitrineignore` (as in `.gitignore`) after the default ones."""
    file = directory / IGNORE_FILE
    if not file.is_file():
        return GitIgnoreSpec.from_lines(DEFAULT_IGNORES)
    if file.stat().st_size > MAX_IGNORE_BYTES:
        raise BundleError([Problem(IGNORE_FILE, f"is larger than {MAX_IGNORE_BYTES // 1024} KiB")])
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        return GitIgnoreSpec.from_lines([*DEFAULT_IGNORES, *lines])
    except ValueError as error:
        raise BundleError([Problem(IGNORE_FILE, f"cannot be read: {error}")]) from error


def _collect(root: Path, limits: BundleLimits) -> dict[str, Path]:
    problems: list[Problem] = []
    sources: dict[str, Path] = {}
    for path, source in _walk(root, ignore_rules(root), problems):
        sources[path] = source
        if len(sources) > limits.files:
            message = f"has more than {limits.files} files; name what is not needed in {IGNORE_FILE}"
            raise BundleError([Problem("", "the bundle " + message)])
    if problems:
        raise BundleError(problems)
    return sources


def _walk(root: Path, rules: GitIgnoreSpec, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    """Yield (path in the bundle, real file). Directories that are linked are entered once per way to them."""
    pending = [("", root, frozenset({root}))]
    while pending:
        prefix, directory, above = pending.pop()
        for name in sorted(os.listdir(directory)):  # noqa: PTH208 - names, not paths, are needed
            path, file = prefix + name, directory / name
            real = _resolve(path, file, root, rules, problems)
            if real is None:
                continue
            if not real.is_dir():
                yield path, real
            elif real in above:
                problems.append(Problem(path, "is a symbolic link to a directory around it; remove it"))
            else:
                pending.append((path + "/", real, above | {real}))


def _resolve(path: str, file: Path, root: Path, rules: GitIgnoreSpec, problems: list[Problem]) -> Path | None:
    """Return the file or directory that `file` stands for, or None when it is ignored or refused."""
    linked = file.is_symlink()
    try:
        real = file.resolve(strict=True) if linked else file
        mode = real.stat().st_mode
    except (OSError, RuntimeError):
        if not rules.match_file(path):
            problems.append(Problem(path, "is a symbolic link to nothing; remove it"))
        return None
    ending = "/" if stat.S_ISDIR(mode) else ""
    inside = real.relative_to(root).as_posix() if real.is_relative_to(root) else path
    if rules.match_file(path + ending) or rules.match_file(inside + ending):
        return None  # a link to what is ignored is ignored, too: no link lets a secret out
    fault = entry_fault(path)
    if linked and not real.is_relative_to(root):
        fault = f"is a symbolic link out of the directory (to {real}); copy the file in, or ignore the link"
    elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        fault = "is neither a file nor a directory (a device, socket or pipe); remove or ignore it"
    if fault:
        problems.append(Problem(path, fault))
        return None
    return real


def _entry(path: str, source: Path) -> FileEntry:
    """Hash one file. Raises BundleError when it cannot be read or changes meanwhile."""
    try:
        before = source.stat()
        digest = sha256_file(source)
        after = source.stat()
    except OSError as error:
        raise BundleError([Problem(path, f"cannot be read: {error.strerror}")]) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BundleError([Problem(path, "changed while it was read; try again when nothing writes to it")])
    executable = bool(before.st_mode & stat.S_IXUSR)
    return FileEntry(path=path, digest=digest, size=before.st_size, executable=executable)
