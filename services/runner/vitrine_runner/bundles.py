"""Versions on this host: each bundle is fetched once, verified, and kept while there is room."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vitrine_common.archives import extract_archive, is_archive
from vitrine_common.bundle import Manifest
from vitrine_common.spec import ModelKind, Spec
from vitrine_runner.caching import FileCache, Files


@dataclass(frozen=True)
class Bundle(Files):
    """A version's files on this host, shown to sandboxes read-only."""

    spec: Spec
    directories: frozenset[str]
    form: dict[str, Any]
    """The harness form of the spec."""

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file, which takes tensors."""
        return self.spec.kind() is ModelKind.ONNX

    @property
    def is_loaded(self) -> bool:
        """Whether the model is loaded once and then given values, rather than a command that is executed."""
        return self.spec.kind() is not ModelKind.SCRIPT


class Bundles(FileCache[Bundle]):
    """The bundles below one directory."""

    NOUN: ClassVar[str] = "version"
    ADVICE: ClassVar[str] = "push the model again"

    def prepare(self, manifest: Manifest, files: Path) -> None:
        """Unpack an archive that is the model. Raises BundleError when it is unsafe."""
        _unpack(Spec.model_validate(manifest.spec), files)

    def describe(self, manifest: Manifest, files: Path, size: int) -> Bundle:
        """Return the bundle with its specification read."""
        spec = Spec.model_validate(manifest.spec)
        directories = frozenset(str(path.relative_to(files)) for path in files.rglob("*") if path.is_dir())
        return Bundle(manifest.digest, files, size, spec, directories, spec.to_harness(directories))


class Datasets(FileCache[Files]):
    """The datasets below one directory."""

    NOUN: ClassVar[str] = "dataset"
    ADVICE: ClassVar[str] = "push the dataset again"

    def prepare(self, manifest: Manifest, files: Path) -> None:
        """Leave a dataset as it was pushed."""

    def describe(self, manifest: Manifest, files: Path, size: int) -> Files:
        """Return where the files are."""
        return Files(manifest.digest, files, size)


def archive_of(spec: Spec, files: Path) -> Path | None:
    """Return the archive that holds the model, where the bundle has one instead of `model.path`.

    `model: {fileType: .zip, path: source/gan}` means `source/gan.zip`, or a file `source/gan` of that
    kind, unless the directory `source/gan` was pushed itself.
    """
    model = spec.model
    if model is None or model.path is None or not model.file_type:
        return None
    suffix = "." + model.file_type.lstrip(".").lower()
    found = [files / model.path, files / (model.path + suffix)]
    return next((path for path in found if path.is_file() and is_archive("x" + suffix)), None)


def _unpack(spec: Spec, files: Path) -> None:
    """Replace the archive that is the model by the directory that it holds, at `model.path`."""
    archive = archive_of(spec, files)
    if archive is None or spec.model is None or spec.model.path is None or spec.model.file_type is None:
        return
    target = files / spec.model.path
    if target.is_dir():
        return
    suffix = "." + spec.model.file_type.lstrip(".").lower()
    packed = archive.rename(files.parent / f"packed{suffix}")
    unpacked = files.parent / "unpacked"
    unpacked.mkdir()
    extract_archive(packed, unpacked).rename(target)
    for directory in (target, *target.rglob("*")):
        if directory.is_dir():
            directory.chmod(0o755)
    packed.unlink()
    shutil.rmtree(unpacked, ignore_errors=True)
