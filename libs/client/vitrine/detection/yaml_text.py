"""The text of a drafted `vitrine.yaml`, with comments that say what may be changed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from vitrine.detection.arguments import Argument

_PLAIN = re.compile(r"^[A-Za-z][\w ./-]*$")
_WORDS = frozenset({"yes", "no", "true", "false", "on", "off", "null", "y", "n"})
_INPUT_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")


def scalar(value: Any) -> str:
    """Write a value so that YAML reads the same one."""
    if (
        isinstance(value, str)
        and _PLAIN.match(value)
        and value.lower() not in _WORDS
        and value == value.strip()
    ):
        return value
    return json.dumps(value, ensure_ascii=False)


def head(name: str) -> str:
    """Return the beginning of the file."""
    return (
        "# What runs, what goes in, what comes out. Every key: docs/reference/vitrine-yaml.md\n"
        f"name: {json.dumps(name)}\n"
        'description: ""  # one sentence, shown on the page\n'
    )


def onnx(file: str) -> str:
    """Return the section of an ONNX model."""
    return (
        f"\nonnx: {scalar(file)}\n"
        "\n"
        "# Without more, the page takes and shows all tensors as JSON. For a picture and named classes:\n"
        "# inputs:\n"
        "#   image: {type: image, tensor: {size: [224, 224], layout: NCHW}}\n"
        "# outputs:\n"
        "#   class: {type: labels, tensor: {softmax: true, top: 5, labels: [cat, dog]}}\n"
    )


def predictor(target: str) -> str:
    """Return the section of a predictor, whose inputs and outputs are read from its type hints."""
    return (
        f"\npredictor: {target}\n"
        "\n"
        "# Inputs and outputs come from the type hints of `predict`. To say more of one:\n"
        "# inputs:\n"
        "#   prompt: {type: text, description: What to write about, examples: [the sea]}\n"
    )


def project(spec: dict[str, Any]) -> str:
    """Return the sections of a project of another tool."""
    return "\n" + "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in spec.items())


def download(script: str, source: str | None, target: str | None) -> str:
    """Return the section of a script that reads a file and leaves a result."""
    lines = ["", "model:", f"  command: {scalar('python ' + script)}"]
    if source:
        lines += [
            "  input:",
            "    type: download  # the visitor's file is put where the script reads it",
            f"    download_destination: {scalar(source)}",
        ]
    return "\n".join([*lines, *_output(target)]) + "\n"


def flags(command: str, inputs: Sequence[Argument], target: str | None, left: Sequence[str]) -> str:
    """Return the section of a script that takes flags, and its inputs."""
    lines = ["", "model:", f"  command: {scalar(command)}", "  input:"]
    lines.append("    type: flag  # each value becomes `--name value`")
    lines += _output(target)
    lines += [f"  # {flag} is not among the inputs: it takes no single value by flag" for flag in left]
    if inputs:
        lines += ["", "inputs:"]
    for argument in inputs:
        lines += _input(argument)
    return "\n".join(lines) + "\n"


def package(requirements: str | None) -> str:
    """Return the section of packages; commented out when there is no list yet."""
    kind = "conda" if requirements and requirements.endswith((".yml", ".yaml")) else "pip"
    lines = ["package:", f"  type: {kind}", f"  requirements_file: {requirements or 'requirements.txt'}"]
    return "\n" + "\n".join(line if requirements else f"# {line}" for line in lines) + "\n"


def training(has_script: bool, is_onnx: bool) -> str:
    """Return the section of the training, commented out."""
    if not has_script:
        return ""
    made = "model.onnx" if is_onnx else "weights/"
    return (
        "\n# `vitrine train` runs this on the platform and registers the result:\n"
        "# train:\n"
        "#   command: python train.py\n"
        f"#   outputs: {made}  # what the training writes\n"
        "#   metrics: {primary: accuracy, goal: maximize}\n"
    )


def _output(target: str | None) -> list[str]:
    if target is None:
        return ["  # the output is what the script prints; for a file: output: {path: result.png, type: png}"]
    suffix = target.rpartition(".")[2] if "." in target.rpartition("/")[2] else ""
    kind = [f"    type: {scalar(suffix)}"] if suffix.isalnum() else []
    return ["  output:", f"    path: {scalar(target)}", *kind]


def _input(argument: Argument) -> list[str]:
    name = (
        argument.name if _INPUT_NAME.match(argument.name) else re.sub(r"[^A-Za-z0-9_-]", "_", argument.name)
    )
    lines = [f"  {name}:", f"    type: {argument.kind}"]
    if argument.flag != f"--{name}":
        lines.append(f"    flag: {json.dumps(argument.flag)}")
    if argument.help and "%" not in argument.help:
        lines.append(f"    description: {json.dumps(argument.help[:500], ensure_ascii=False)}")
    if argument.kind == "choice":
        values = [one for one in argument.choices if isinstance(one, str | int | float)]
        lines.append(f"    choices: {json.dumps(values, ensure_ascii=False)}")
    if argument.integer:
        lines.append("    integer: true")
    if argument.kind in {"text", "number", "choice"} and _fits(argument):
        lines.append(f"    default: {json.dumps(argument.default, ensure_ascii=False)}")
    elif not argument.required:
        lines.append("    required: false")
    return lines


def _fits(argument: Argument) -> bool:
    value = argument.default
    if value is None or isinstance(value, bool):
        return False
    if argument.kind == "choice":
        return value in argument.choices
    if argument.kind == "number":
        return isinstance(value, int | float) and (not argument.integer or value == int(value))
    return isinstance(value, str)
