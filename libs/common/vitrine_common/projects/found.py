"""Which tool a directory without a `vitrine.yaml` is made for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vitrine_common.projects import cog, mlflow
from vitrine_common.spec.document import MAX_BYTES, Document, read_document
from vitrine_common.spec.errors import SpecError, SpecProblem
from vitrine_common.spec.model import Spec

Reader = Callable[[Document, str], tuple[dict[str, Any], list[str]]]
_TOOLS: dict[str, tuple[str, Reader]] = {
    "cog.yaml": ("a Cog project", cog.read),
    "MLmodel": ("an MLflow model", mlflow.read),
}


@dataclass(frozen=True)
class Found:
    """A project of another tool.

    `file` is the one that says so, `notes` what its author should know although it is taken.
    """

    what: str
    file: str
    spec: Spec
    notes: tuple[str, ...]


def find_project(directory: Path) -> Found | None:
    """Return what a directory is in another tool's words, or None.

    Raises SpecError naming what of the tool's file cannot be taken.
    """
    for file, (what, read) in _TOOLS.items():
        path = directory / file
        if path.is_file():
            document = read_document(_text(path), file)
            if not isinstance(document.data, dict):
                raise SpecError([SpecProblem("", "must be a mapping of keys to values", file, 1)])
            plain, notes = read(document, file)
            return Found(what, file, _spec(plain, file, directory), tuple(notes))
    return None


def find_bare_model(directory: Path) -> Found | None:
    """Return the ONNX model that a directory without scripts holds, if it is the only one."""
    models = sorted(path.name for path in directory.glob("*.onnx") if path.is_file())
    if len(models) != 1 or any(directory.glob("*.py")):
        return None
    return Found("an ONNX model", models[0], _spec({"onnx": models[0]}, models[0], directory), ())


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise SpecError([SpecProblem("", f"is larger than {MAX_BYTES // 1024} KiB", path.name)])
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([SpecProblem("", "is not UTF-8 text; save it as UTF-8", path.name)]) from error


def _spec(plain: dict[str, Any], file: str, directory: Path) -> Spec:
    try:
        return Spec.model_validate(
            {"name": _name(plain.pop("name", None) or directory.resolve().name), **plain}
        )
    except ValidationError as error:
        problems = [
            SpecProblem(".".join(map(str, one["loc"])), str(one["msg"]).removeprefix("Value error, "), file)
            for one in error.errors(include_url=False)
        ]
        raise SpecError(problems) from error


def _name(text: str) -> str:
    kept = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:64].strip("._-")
    return kept or "model"
