"""The reference page of `vitrine.yaml`, written from the models.

python -m vitrine_common.spec.reference > docs/reference/vitrine-yaml.md
"""

import sys
from typing import Any, Final

from vitrine_common.spec.inputs import InputBase
from vitrine_common.spec.schema import json_schema

Fields = dict[str, Any]

EXAMPLES: Final = {
    "A script that reads a file and writes a file": """\
name: snow
model:
  command: python test.py
  input: {type: download, download_destination: ./datasets/image.jpg}
  output: {path: ./results/, type: png}
package: {type: pip, requirements_file: requirements.txt}
""",
    "A script that takes flags and prints text": """\
name: story
model:
  command: python generate.py
  input: {type: flag}
inputs:
  prompt: text
  length: {type: number, default: 200, min: 1, max: 2000, integer: true}
""",
    "A predictor: a class with `setup` and `predict`": """\
name: poet
predictor: predict.py:Predictor
scaling: {concurrency: 4}
inputs:
  prompt: {type: text, examples: [the sea]}
package: [torch==2.13.0]
""",
    "An ONNX model, without any code": """\
name: digits
onnx: model.onnx
inputs:
  image: {type: image, tensor: {size: [8, 8], mode: L, invert: auto, layout: flat}}
outputs:
  probabilities: {type: labels, tensor: {name: probabilities, top: 3}}
""",
    "A model that is trained first": """\
name: trained
onnx: model.onnx
train:
  command: python train.py
  requirements_file: requirements-train.txt
  outputs: model.onnx
  metrics: {primary: accuracy, goal: maximize}
""",
    "A claim that whoever has a link can have reproduced": """\
name: digits
onnx: model.onnx
claims:
  - name: accuracy
    statement: The network reads 97 % of the digits that it never saw.
    command: python evaluate.py
    dataset: digits-heldout@1
    metric: accuracy
    expected: 0.97
    tolerance: 0.01
    repeats: 3
""",
}
_INTRODUCTION = """\
# vitrine.yaml

One file says what runs, what goes in and what comes out. It is YAML or JSON (`vitrine.yaml`,
`vitrine.yml` or `vitrine.json`) and stands at the top of the directory that is pushed. Editors
complete and check it with [vitrine.schema.json](vitrine.schema.json). Unknown keys are refused,
with the line and a suggestion. Paths are relative to the directory, with forward slashes, and never
leave it.

This page is written by `python -m vitrine_common.spec.reference`.
"""
_RULES = """\
## What follows from what is written

- **Commands** are split into words as a shell would, but no shell runs them. For pipes, `&&` or
  redirections, put the line into a script and write `bash run.sh`.
- **`input: {type: download}`** puts the first file input at `download_destination`. Without
  `inputs:` there is one input named `input`: an image when the destination has an image's suffix,
  else a file.
- **`input: {type: flag}`** adds `--name value` to the command for each value; a value that begins
  with a dash is added as `--name=value`. File inputs are put into `inputs/`, and their path is the
  value.
- **Every script** also finds its values as `VITRINE_INPUT_NAME` in the environment: text as it is,
  everything else as JSON, of a file its path.
- **Outputs of a script** are the files that match `path` and that the run wrote or changed. A
  directory stands for all files under it. With neither `outputs:` nor `model.output`, what the
  command prints is the output.
- **A predictor's** inputs and outputs are read from the type hints of its method when it is pushed.
  What `inputs:` says of one of them is added; `outputs:` replaces all of them.
- **An ONNX model without `inputs:`** has one for each tensor of the file; without `outputs:` likewise.
  Where the file is only trained later, it takes one JSON value named `tensors`, which maps tensor names
  to nested lists, and gives the same.
- **`train:`** files that `outputs` names need not exist when the source is pushed: the training
  makes them, and the registered version contains them. `checkpoints` are stored while it runs.
- **`claims:`** run sealed, in the version's environment: the files of the bundle in the working
  directory, a pushed dataset read-only in `/data/NAME`, whose path is in `VITRINE_DATA_DIR` and in
  `VITRINE_DATASET_NAME`. With `repeats`, each repeat begins in a sandbox of its own, and the mean is
  compared with `expected`.
- **`model_card:`** is shown under the form. Front matter as Hugging Face's cards have it (YAML between
  two lines `---`) becomes a table of licence, task, language, library, origin, data, metrics and tags;
  `model-index` becomes a table of results; texts of `widget` become examples of the first text input.
  Nothing is loaded from elsewhere: pictures become links, and `widget` entries with `src` are left out.
- **conda** with a plain requirements file is installed with pip, and `conda activate` does nothing.
  **apt** is not to be had today, nor is a `language` other than `python-3.11`.
"""
_TITLES: Final = {
    "ScriptModel": "model",
    "ScriptInput": "model.input",
    "ScriptOutput": "model.output",
    "Package": "package",
    "InputBase": "Every input",
    "TextInput": "Input of type text",
    "NumberInput": "Input of type number",
    "BooleanInput": "Input of type boolean",
    "ChoiceInput": "Input of type choice",
    "ImageInput": "Input of type image",
    "FileInput": "Input of type file",
    "JsonInput": "Input of type json",
    "InputTensor": "tensor of an input",
    "Output": "Output",
    "OutputTensor": "tensor of an output",
    "Resources": "resources",
    "Scaling": "scaling",
    "Batching": "scaling.batching",
    "Train": "train",
    "TrainMetrics": "train.metrics",
    "Claim": "Claim",
    "Metric": "metric of a claim",
    "Extension": "extend of a claim",
}


def reference_page() -> str:
    """Return the page as the committed file has it."""
    schema = json_schema()
    schema["$defs"]["InputBase"] = InputBase.model_json_schema()
    parts = [_INTRODUCTION, "## Examples\n"]
    parts += [f"{title}:\n\n```yaml\n{example}```\n" for title, example in EXAMPLES.items()]
    parts += [_RULES, "## Keys\n", _table(schema, schema, "The file", frozenset())]
    parts += [
        _table(schema, schema["$defs"][name], title, _INHERITED if "of type" in title else frozenset())
        for name, title in _TITLES.items()
    ]
    return "\n".join(parts)


_INHERITED = frozenset(InputBase.model_fields)


def _table(schema: Fields, section: Fields, title: str, left_out: frozenset[str]) -> str:
    about = section.get("description", "").replace("\n\n", "\n").strip()
    required = set(section.get("required", []))
    rows = [
        _row(schema, key, field, key in required)
        for key, field in section["properties"].items()
        if key not in left_out
    ]
    head = "| key | value | without it | meaning |\n|---|---|---|---|"
    return "\n".join([f"### {title}\n", about + "\n", head, *rows]) + "\n"


def _row(schema: Fields, key: str, field: Fields, required: bool) -> str:
    default = "required" if required else _default(field.get("default"))
    kind = "list or mapping" if _takes_both(field) else ""
    meaning = field.get("description") or _described(schema, field)
    return f"| `{key}` | {kind or _kind(field)} | {default} | {' '.join(meaning.split())} |"


def _takes_both(field: Fields) -> bool:
    return any(option.get("maxProperties") for option in field.get("anyOf", []))


def _described(schema: Fields, field: Fields) -> str:
    """Return the description of the section that a field refers to."""
    name = field.get("$ref", "").rsplit("/", 1)[-1]
    return str(schema["$defs"].get(name, {}).get("description", ""))


def _default(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return "-" if isinstance(value, dict) else f"`{value}`"


def _kind(field: Fields) -> str:
    if "const" in field:
        return f"`{str(field['const']).lower()}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        return str(_TITLES.get(name, name))
    for group in ("anyOf", "oneOf", "allOf"):
        if group in field:
            kinds = [_kind(option) for option in field[group] if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    return _plain_kind(field)


def _plain_kind(field: Fields) -> str:
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "mapping"}
    if isinstance(field.get("type"), list):
        return " or ".join(names.get(kind, kind) for kind in field["type"])
    kind = field.get("type", "any value" if "required" not in field else "")
    if kind == "array" and isinstance(field.get("items"), dict):
        return f"list of {_kind(field['items'])}"
    return {**names, "array": "list"}.get(kind, str(kind))


if __name__ == "__main__":
    sys.stdout.write(reference_page())
