"""The arguments of a script, read from its `add_argument` calls."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

_IMAGE_WORDS = ("image", "img", "photo", "picture")
_FILE_WORDS = ("file", "path", "audio", "video", "csv")
_OUTPUT_WORDS = ("output", "out", "result", "save", "dest")
_SWITCHES = ("store_true", "store_false", "store_const", "count", "version", "help")
UNKNOWN = object()
"""Stands for a value that only running the script would tell."""


@dataclass(frozen=True)
class Argument:
    """One argument of a script; `kind` is a type of input, or output, switch or positional."""

    name: str
    flag: str
    kind: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    integer: bool = False
    required: bool = False
    help: str = ""
    hints: dict[str, Any] = field(default_factory=dict)


def read_arguments(tree: ast.Module) -> list[Argument]:
    """Return the arguments that a script adds to its parser, in order."""
    found: dict[str, Argument] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        argument = _argument(node) if node.func.attr == "add_argument" else None
        if argument is not None:
            found.setdefault(argument.name, argument)
    return list(found.values())


def literal(node: ast.expr | None) -> Any:
    """Return the value of a literal, None for nothing, UNKNOWN for an expression."""
    if node is None:
        return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and len(node.args) == 1:
        called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if called == "Path":
            return literal(node.args[0])
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return UNKNOWN


def _argument(call: ast.Call) -> Argument | None:
    names = [name for name in (literal(node) for node in call.args) if isinstance(name, str)]
    if not names:
        return None
    options = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    flag = next((name for name in names if name.startswith("--")), names[0])
    name = flag.lstrip("-")
    default, choices = literal(options.get("default")), literal(options.get("choices"))
    said = literal(options.get("help"))
    kind, integer = _kind(name, flag, options, default, choices)
    return Argument(
        name=name,
        flag=flag,
        kind=kind,
        default=None if default is UNKNOWN else default,
        choices=tuple(choices) if isinstance(choices, list | tuple | set) else (),
        integer=integer,
        required=literal(options.get("required")) is True,
        help=said if isinstance(said, str) else "",
    )


def _kind(name: str, flag: str, options: dict[str, ast.expr], default: Any, choices: Any) -> tuple[str, bool]:
    """Return what an argument is, and whether it is a whole number."""
    if not flag.startswith("-"):
        return "positional", False
    if literal(options.get("action")) in _SWITCHES or literal(options.get("nargs")) not in {None, "?"}:
        return "switch", False
    if isinstance(choices, list | tuple | set) and choices:
        return "choice", False
    caster = _caster(options.get("type"))
    if caster in {"int", "float"}:
        return "number", caster == "int"
    if isinstance(default, int | float) and not isinstance(default, bool):
        return "number", isinstance(default, int)
    return _kind_by_name(name, caster), False


def _kind_by_name(name: str, caster: str) -> str:
    words = set(name.lower().replace("-", "_").split("_"))
    if words & set(_OUTPUT_WORDS):
        return "output"
    if words & set(_IMAGE_WORDS):
        return "image"
    return "file" if caster in {"Path", "FileType"} or words & set(_FILE_WORDS) else "text"


def _caster(node: ast.expr | None) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
