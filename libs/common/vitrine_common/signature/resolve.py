"""A spec with the inputs and outputs that the model itself tells: a predictor's hints, a file's signature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine_common.signature.modules import ReadText
from vitrine_common.signature.predictors import Interface, read_interface
from vitrine_common.spec.errors import SpecError, SpecProblem
from vitrine_common.spec.inputs import Input
from vitrine_common.spec.model import Spec
from vitrine_common.spec.outputs import Output

Find = Callable[[str], Path | None]
"""Returns where a file of the bundle lies, by its path in it, or None where there is none."""
MAX_TEXT_BYTES = 4_000_000


def resolved(spec: Spec, find: Find, filename: str = "vitrine.yaml") -> Spec:
    """Return `spec` with complete `inputs` and `outputs`.

    What the spec says itself comes before what its model tells: an input of the same name and type keeps
    what the spec does not mention. The files are read as text and never run. Raises SpecError naming file
    and line of what cannot be understood.
    """
    if spec.predictor is None:
        return spec
    own = {item.name: item for item in spec.inputs or ()}
    found = read_interface(
        spec.predictor,
        _reader(find),
        in_batches=spec.scaling.batching is not None,
        known=frozenset(own),
    )
    return _with(spec, _inputs(own, found, filename), _outputs(spec, found))


def _reader(find: Find) -> ReadText:
    texts: dict[str, str | None] = {}

    def read(path: str) -> str | None:
        if path not in texts:
            texts[path] = _text(find(path))
        return texts[path]

    return read


def _text(file: Path | None) -> str | None:
    try:
        if file is None or not file.is_file() or file.stat().st_size > MAX_TEXT_BYTES:
            return None
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _inputs(own: dict[str, Input], found: Interface, filename: str) -> list[dict[str, Any]]:
    unknown = [name for name in own if name not in found.parameters]
    if unknown and not found.takes_any:
        takes = ", ".join(found.parameters) or "nothing"
        message = f"`{unknown[0]}` is no parameter of the predictor; it takes {takes}"
        raise SpecError([SpecProblem(f"inputs.{unknown[0]}", message, filename)])
    told = {item.name: item for item in found.inputs}
    names = [*(name for name in found.parameters if name in told or name in own), *unknown]
    return [_merged(told.get(name), own.get(name)) for name in names]


def _merged(told: Input | None, own: Input | None) -> dict[str, Any]:
    base = _plain(told) if told is not None else {}
    said = _plain(own) if own is not None else {}
    if told is None or own is None or told.type == own.type:
        return {**base, **said}
    kept = {key: value for key, value in base.items() if key in {"description", "required"}}
    return {**kept, **said}


def _outputs(spec: Spec, found: Interface) -> list[dict[str, Any]]:
    if spec.outputs is not None:
        return [_plain(item) for item in spec.outputs]
    if found.outputs is None:
        message = "does not say what it returns; write `-> str` (or int, dict, Path …) after its parameters"
        raise SpecError([SpecProblem("predictor", message, found.file, found.line)])
    return [_plain(item) for item in found.outputs]


def _plain(item: Input | Output) -> dict[str, Any]:
    return item.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _with(spec: Spec, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Spec:
    return Spec.model_validate({**spec.plain(), "inputs": inputs, "outputs": outputs})
