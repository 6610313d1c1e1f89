"""The run form: one field for each input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitrine_api import views
from vitrine_api.blindness import example_name
from vitrine_api.run_inputs import SentExample
from vitrine_common.bundle import Manifest
from vitrine_common.errors import Problem
from vitrine_common.spec import (
    BooleanInput,
    ChoiceInput,
    FileInput,
    ImageInput,
    Input,
    JsonInput,
    NumberInput,
    Spec,
    TextInput,
)

_SOUNDS = frozenset({".wav", ".mp3", ".ogg", ".oga", ".opus", ".flac", ".m4a", ".aac", ".webm"})
_TABLES = frozenset({".csv", ".tsv", "text/csv", "text/tab-separated-values"})


def run_fields(
    spec: Spec,
    manifest: Manifest | None,
    examples_url: str,
    sent: Mapping[str, Any] | None = None,
    problems: Sequence[Problem] = (),
) -> tuple[views.AnyField, ...]:
    """Return the fields of a form.

    Args:
        spec: whose inputs they are.
        manifest: where the sizes of examples stand; needed where inputs have files as examples.
        examples_url: address below which `<input>/<index>` gives an example's bytes.
        sent: what was sent last, for a form that is shown again.
        problems: what was wrong with it.
    """
    errors = {problem.field.removeprefix("inputs."): problem.message for problem in problems}
    return tuple(
        _field(
            item, manifest, f"{examples_url}/{item.name}", (sent or {}).get(item.name), errors.get(item.name)
        )
        for item in spec.effective_inputs()
    )


def _field(
    item: Input, manifest: Manifest | None, examples_url: str, sent: Any, error: str | None
) -> views.AnyField:
    common: dict[str, Any] = {
        "name": item.name,
        "title": item.title,
        "description": item.description or "",
        "required": item.must_be_given,
        "error": error,
    }
    match item:
        case ImageInput() | FileInput():
            return _file_kind(item)(
                **common,
                accept=tuple(item.accept),
                max_bytes=item.max_bytes,
                examples=_file_examples(item, manifest, examples_url),
                chosen=_chosen(item, sent),
            )
    value = as_text(item.default if sent is None else sent)
    examples = tuple(views.ValueExample(label=as_text(one), value=as_text(one)) for one in item.examples)
    return _value_field(item, {**common, "value": value, "examples": examples})


def _file_kind(item: ImageInput | FileInput) -> type[views.FileField]:
    """Return how a file is asked for: sounds and tables are those inputs that take nothing else."""
    if isinstance(item, ImageInput):
        return views.ImageField
    if item.accept and all(one.startswith("audio/") or one.lower() in _SOUNDS for one in item.accept):
        return views.AudioField
    if item.accept and all(one.lower() in _TABLES for one in item.accept):
        return views.TableField
    return views.FileField


def _chosen(item: ImageInput | FileInput, sent: Any) -> int | None:
    path = sent.path if isinstance(sent, SentExample) else None
    return item.examples.index(path) if path in item.examples else None


def _value_field(
    item: TextInput | NumberInput | BooleanInput | ChoiceInput | JsonInput, common: dict[str, Any]
) -> views.AnyField:
    match item:
        case TextInput():
            return views.TextField(
                **common, multiline=item.multiline, min_length=item.min_length, max_length=item.max_length
            )
        case NumberInput():
            return views.NumberField(
                **common, min=item.min, max=item.max, step=item.step, integer=item.integer
            )
        case BooleanInput():
            return views.ChoiceField(**common, choices=("true", "false"))
        case ChoiceInput():
            return views.ChoiceField(**common, choices=tuple(as_text(choice) for choice in item.choices))
    return views.JsonField(**common, max_bytes=item.max_bytes)


def _file_examples(
    item: ImageInput | FileInput, manifest: Manifest | None, url: str
) -> tuple[views.FileExample, ...]:
    entries = [(index, manifest.entry(path)) for index, path in enumerate(item.examples)] if manifest else []
    return tuple(
        views.FileExample(
            index=index, filename=entry.path.rpartition("/")[2], url=f"{url}/{index}", size=entry.size
        )
        for index, entry in entries
        if entry is not None
    )


def without_names(fields: tuple[views.AnyField, ...]) -> tuple[views.AnyField, ...]:
    """Return the fields of a blind link's form: its example files have names that say nothing."""
    return tuple(
        replace(field, examples=tuple(_nameless(one) for one in field.examples))
        if isinstance(field, views.ImageField | views.FileField)
        else field
        for field in fields
    )


def _nameless(example: views.FileExample) -> views.FileExample:
    return replace(example, filename=example_name(example.index, example.filename))


def as_text(value: Any) -> str:
    """Write a value as a form carries it: text as it is, nothing as nothing, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def has_file_examples(spec: Spec) -> bool:
    """Tell whether any input has files of the bundle as examples."""
    return any(isinstance(item, ImageInput | FileInput) and item.examples for item in spec.effective_inputs())
