"""What can be pushed: a directory, an archive, or a bare ONNX file."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitrine.errors import BadBundle, Fault
from vitrine_common.archives import extract_archive, is_archive
from vitrine_common.bundle import Manifest, bundle_warnings, check_runnable
from vitrine_common.errors import Invalid, Problem
from vitrine_common.scan import Scan, scan_dataset, scan_directory
from vitrine_common.signature.onnx import NotOnnx, read_signature
from vitrine_common.spec.errors import SpecProblem


@dataclass(frozen=True)
class Bundle:
    """A directory that has been read: what is pushed, and where its bytes are."""

    manifest: Manifest
    sources: dict[str, Path]
    warnings: tuple[str, ...]


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the directory of what lies at `path`; archives and ONNX files get one for the time being.

    Raises BadBundle when `path` is nothing that can be pushed, naming the culprit.
    """
    if path.is_dir():
        yield path
    elif not path.exists():
        raise BadBundle(f"{path} does not exist", advice="Give the directory that has the vitrine.yaml.")
    elif is_archive(path.name):
        with tempfile.TemporaryDirectory(prefix="vitrine-push-") as folder, _as_bad_bundle():
            yield extract_archive(path, Path(folder))
    elif path.suffix.lower() == ".onnx":
        with tempfile.TemporaryDirectory(prefix="vitrine-push-") as folder:
            yield _wrapped_onnx(path, Path(folder))
    else:
        advice = "Push a directory, a .zip, a .tar.gz or an .onnx file."
        raise BadBundle(f"{path.name} cannot be pushed", advice=advice)


def read_bundle(
    directory: Path, report: Callable[[str, int], None] | None = None, *, for_training: bool = False
) -> Bundle:
    """Hash the files of `directory` and check them. Raises BadBundle naming each problem by file and line."""
    with _as_bad_bundle():
        scan = scan_directory(directory, report=report)
    problems = _unfit(scan, for_training=for_training)
    if problems:
        raise bad_bundle(problems)
    return Bundle(
        scan.manifest, scan.sources, (*scan.notes, *scan.spec.warnings(), *bundle_warnings(scan.manifest))
    )


def read_dataset(path: Path, report: Callable[[str, int], None] | None = None) -> Bundle:
    """Hash a directory or a file as a dataset. Raises BadBundle naming each problem by file."""
    with _as_bad_bundle():
        manifest, sources = scan_dataset(path, report=report)
    return Bundle(manifest, sources, tuple(bundle_warnings(manifest)))


def bad_bundle(problems: list[Problem] | tuple[Problem, ...], advice: str = "") -> BadBundle:
    """Return the error that lists `problems`."""
    faults = tuple(_fault(problem) for problem in problems)
    count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
    return BadBundle(f"{count}; nothing was uploaded", faults, advice)


def model_name(stem: str) -> str:
    """Return `stem` as the name of a model."""
    kept = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-")[:64].strip("._-")
    return kept or "model"


def _unfit(scan: Scan, *, for_training: bool) -> list[Problem]:
    if not for_training:
        return check_runnable(scan.spec, scan.manifest, scan.spec_file)
    if scan.spec.train is not None:
        return []
    message = "is missing; write for example `train: {command: python train.py, outputs: model.onnx}`"
    return [SpecProblem("train", message, scan.spec_file)]


def _wrapped_onnx(file: Path, folder: Path) -> Path:
    """Put an ONNX file, and the files beside it that hold its weights, into a bundle of its own."""
    try:
        weights = read_signature(file).external
    except (NotOnnx, OSError) as error:
        raise BadBundle(f"{file.name} cannot be read as an ONNX model: {error}") from error
    for name in (file.name, *weights):
        source, target = file.parent / name, folder / name
        if target.resolve().is_relative_to(folder.resolve()) and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, target)
    spec = {"name": model_name(file.stem), "onnx": file.name}
    lines = [f"{key}: {_quoted(value)}\n" for key, value in spec.items()]
    (folder / "vitrine.yaml").write_text("".join(lines), encoding="utf-8")
    return folder


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def _as_bad_bundle() -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        raise bad_bundle(error.problems or (Problem("", error.message),)) from error


def _fault(problem: Problem) -> Fault:
    if isinstance(problem, SpecProblem):
        return Fault(problem.field, problem.message, problem.file, problem.line)
    return Fault(problem.field, problem.message)
