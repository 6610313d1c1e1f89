"""The published JSON Schema (draft 2020-12) of `vitrine.yaml`, for editors.

python -m vitrine_common.spec.schema > docs/reference/vitrine.schema.json
"""

import json
import sys
from typing import Any, get_args

from vitrine_common.spec.inputs import Input
from vitrine_common.spec.model import Spec
from vitrine_common.spec.outputs import Output

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema. It takes everything that `load_spec` takes, short forms included."""
    schema = Spec.model_json_schema(by_alias=True, mode="validation")
    definitions, fields = schema["$defs"], schema["properties"]
    inputs = [model.__name__ for model in get_args(get_args(Input)[0])]
    for name in inputs:
        definitions[name]["required"] = ["type"]  # the name is the key where inputs are a mapping
        _allow_text(definitions[name]["properties"]["tensor"], "Name of the tensor.")
    definitions[Output.__name__]["required"] = ["type"]
    _allow_text(definitions[Output.__name__]["properties"]["tensor"], "Name of the tensor.")
    _list_or_mapping(fields["inputs"], {"oneOf": [_reference(name) for name in inputs]})
    _list_or_mapping(fields["outputs"], _reference(Output.__name__))
    train = definitions["Train"]["properties"]
    _allow_text(train["metrics"], "Name of the primary metric.")
    for key in ("outputs", "checkpoints"):
        train[key] = {"anyOf": [train[key], {"type": "string"}], **_moved(train[key])}
    metric = definitions["Claim"]["properties"]["metric"]
    definitions["Claim"]["properties"]["metric"] = {
        "anyOf": [metric, {"type": "string", "description": "Its key in what is printed, or `file:key`."}],
        **_moved(metric),
    }
    fields["version"]["anyOf"].append({"type": "number"})
    short = {"type": "array", "items": {"type": "string"}, "description": "Only the list `requirements`."}
    fields["package"] = {"anyOf": [_reference("Package"), short], **_moved(fields["package"])}
    return {"$schema": DIALECT, "$id": "urn:vitrine:vitrine-yaml", **schema, "title": "vitrine.yaml"}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _moved(field: dict[str, Any]) -> dict[str, Any]:
    return {key: field.pop(key) for key in ("title", "description", "default") if key in field}


def _allow_text(field: dict[str, Any], description: str) -> None:
    field["anyOf"].append({"type": "string", "minLength": 1, "description": description})


def _list_or_mapping(field: dict[str, Any], item: dict[str, Any]) -> None:
    named = {"allOf": [item, {"required": ["name"]}]}
    short = {"type": "string", "description": "Only the type."}
    field["anyOf"] = [
        {"type": "array", "items": named, "maxItems": 100},
        {"type": "object", "additionalProperties": {"anyOf": [item, short]}, "maxProperties": 100},
        {"type": "null"},
    ]


def schema_text() -> str:
    """Return the schema as the committed file has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
