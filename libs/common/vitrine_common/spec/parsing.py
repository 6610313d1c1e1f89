"""Reading a `vitrine.yaml` and saying what is wrong with it."""

import difflib
import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vitrine_common.spec.document import Document, Place, read_document
from vitrine_common.spec.errors import SpecError, SpecProblem, sentence
from vitrine_common.spec.model import Spec

MAX_PROBLEMS = 30
LATER_KEYS = {
    "search": "hyperparameter search",
    "pipeline": "pipelines",
}
LATER_INPUTS = {"audio": "file", "video": "file", "table": "file"}
_WANTED = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "json_invalid": "is not JSON",
}


def load_spec(text: str, filename: str = "vitrine.yaml") -> Spec:
    """Return the spec in `text` (YAML or JSON). Raises SpecError naming every problem by line and field."""
    document = read_document(text, filename)
    if not isinstance(document.data, dict):
        message = "must be a mapping of keys to values; write `name: my-model` on its first line"
        raise SpecError([SpecProblem("", message, filename, 1)])
    try:
        return Spec.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(detail, document, filename) for detail in error.errors(include_url=False)]
    by_field = {(problem.line, problem.field): problem for problem in problems}  # a union complains twice
    raise SpecError(sorted(by_field.values(), key=lambda problem: problem.line or 0)[:MAX_PROBLEMS])


def _problem(detail: ErrorDetails, document: Document, filename: str) -> SpecProblem:
    place = _place_in_file(detail["loc"], document.data, detail["type"] == "missing")
    message, advice = _sentence(detail, place)
    at = place if detail["type"] != "missing" else place[:-1]
    return SpecProblem(field_path(place), sentence(message, advice), filename, document.line(at) or 1)


def field_path(place: Place) -> str:
    """Write a place as people read it: `inputs[0].tensor.size`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _place_in_file(loc: tuple[int | str, ...], data: Any, is_missing: bool) -> Place:
    """Drop what pydantic adds to a location (names of union members); find entries of mappings by name."""
    place: list[str | int] = []
    here: Any = data
    for index, located in enumerate(loc):
        part, absent = located, is_missing and index == len(loc) - 1
        if isinstance(here, dict) and isinstance(located, int):
            part = [*here, *range(len(here), located + 1)][located]
        if isinstance(here, dict) and (part in here or absent):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        else:
            continue
        place.append(part)
    return tuple(place)


def _sentence(detail: ErrorDetails, place: Place) -> tuple[str, str]:
    """Return what is wrong and what to write instead."""
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in _WANTED:
        return f"`{_shorten(given)}` {_WANTED[kind]}", ""
    match kind:
        case "extra_forbidden":
            found = _unknown_key(detail["loc"], place)
        case "missing":
            found = "is missing", f"write `{place[-1]}: …`"
        case "value_error":
            found = str(context["error"]), ""
        case "union_tag_invalid" | "union_tag_not_found":
            found = _unknown_input_type(given, context)
        case "string_pattern_mismatch":
            found = f"`{_shorten(given)}` has characters that are not allowed", _name_advice(given, place)
        case "literal_error":
            found = _unknown_choice(given, str(context["expected"]), place)
        case _:
            found = f"`{_shorten(given)}`: {detail['msg'][:1].lower()}{detail['msg'][1:]}", ""
    return found


def _unknown_key(loc: tuple[int | str, ...], place: Place) -> tuple[str, str]:
    key = str(place[-1])
    if len(place) == 1 and key in LATER_KEYS:
        message = f"{LATER_KEYS[key]} belong to a later version of Vitrine"
        return message, "this one runs scripts (`model.command`) and ONNX files (`onnx`); remove the key"
    known = known_keys(loc[:-1])
    close = _closest(key, known)
    if close:
        return "is not a known key", f"did you mean `{close}`?"
    return "is not a known key", f"known here: {', '.join(known)}"


def _unknown_input_type(given: Any, context: dict[str, Any]) -> tuple[str, str]:
    kinds = [kind.strip(" '") for kind in str(context.get("expected_tags", "")).split(",") if kind.strip()]
    asked = given.get("type") if isinstance(given, dict) else None
    if asked is None:
        return "has no `type`", "write `type: text`, number, choice, image, file or json"
    if asked in LATER_INPUTS:
        return f"inputs of type `{asked}` belong to a later version of Vitrine", (
            f"write `type: {LATER_INPUTS[asked]}` for now"
        )
    close = _closest(str(asked), kinds)
    return f"`{_shorten(asked)}` is not a type of input", (
        f"did you mean `{close}`?" if close else f"write one of {', '.join(kinds)}"
    )


def _unknown_choice(given: Any, expected: str, place: Place) -> tuple[str, str]:
    if place[-2:] == ("resources", "network"):
        return "runs have no network", "remove the key; what a run needs goes into the bundle"
    wanted = expected.replace("'", "`")
    close = _closest(str(given), re.findall(r"'([^']+)'", expected))
    if close:
        return f"`{_shorten(given)}` is not possible here", f"did you mean `{close}`?"
    if place and place[-1] == "type" and given in LATER_INPUTS:
        return f"type `{given}` belongs to a later version of Vitrine", f"write {wanted}"
    return f"`{_shorten(given)}` is not possible here", f"write {wanted}"


def _name_advice(given: Any, place: Place) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(given)).strip("-") or "my-model"
    if place == ("name",):
        return f"write for example `name: {kept.lower()[:64].strip('-')}`"
    name = kept.replace("-", "_")
    return f"write for example `{name if name[0].isalpha() else 'input_' + name}`"


def _closest(key: str, known: list[str]) -> str | None:
    folded = {name.lower().replace("_", ""): name for name in known}
    same = folded.get(key.lower().replace("_", "").replace("-", ""))
    return same or next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.6)), None)


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `loc` (as pydantic locates it) takes."""
    models: list[type[BaseModel]] = [Spec]
    for part in loc:
        if isinstance(part, int):
            continue
        by_tag = [model for model in models if _tag(model) == part]
        models = by_tag or [found for model in models for found in _section_at(model, part)] or models
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("type")
    default = field.default if field else None
    return default if isinstance(default, str) else None


def _section_at(model: type[BaseModel], key: str) -> list[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if key in {name, field.alias}:
            return _sections_in(field.annotation)
    return []


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [section for argument in typing.get_args(annotation) for section in _sections_in(argument)]
