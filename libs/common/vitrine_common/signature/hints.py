"""Type hints in author code, as the kinds of inputs and outputs that they stand for."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vitrine_common.signature.modules import UNKNOWN, Module

Kind = Literal[
    "text", "integer", "number", "boolean", "choice", "file", "image", "table", "json", "none", "secret"
]
MAX_DEPTH = 12

_PLAIN: dict[str, Kind] = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "bytes": "file",
    "None": "none",
    "types.NoneType": "none",
    "PIL.Image.Image": "image",
    "matplotlib.figure.Figure": "image",
    "pandas.DataFrame": "table",
    "cog.Secret": "secret",
    "pydantic.SecretStr": "secret",
}
_FILES = (
    *("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "cog.Path", "cog.File", "os.PathLike"),
    *("typing.BinaryIO", "typing.IO", "io.BytesIO", "io.IOBase", "io.BufferedReader", "io.BufferedIOBase"),
)
_VALUES = (
    *("dict", "list", "tuple", "set", "object", "typing.Any", "typing.Dict", "typing.List", "typing.Tuple"),
    *("typing.Set", "typing.Mapping", "typing.Sequence", "collections.abc.Mapping", "numpy.ndarray"),
    *("collections.abc.Sequence", "torch.Tensor", "numpy.typing.NDArray", "numpy.typing.ArrayLike"),
    *("numpy.float32", "numpy.float64", "numpy.int64", "pandas.Series"),
)
_FILE: Kind = "file"
_JSON: Kind = "json"
_KINDS: dict[str, Kind] = {
    **_PLAIN,
    **dict.fromkeys(_FILES, _FILE),
    **dict.fromkeys(_VALUES, _JSON),
}
_LISTS = {
    *("list", "tuple", "set", "frozenset", "typing.List", "typing.Tuple", "typing.Set", "typing.Sequence"),
    *("collections.abc.Sequence", "typing.Iterable", "collections.abc.Iterable"),
}
_STREAMS = {
    f"{base}.{name}"
    for base in ("typing", "collections.abc")
    for name in ("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable")
}
_JOINED = {"cog.ConcatenateIterator", "cog.AsyncConcatenateIterator"}
_ENUMS = {"enum.Enum", "enum.IntEnum", "enum.StrEnum"}
_RECORDS = {
    "pydantic.BaseModel",
    "cog.BaseModel",
    "typing.TypedDict",
    "typing_extensions.TypedDict",
    "typing.NamedTuple",
}
_DATACLASSES = {"dataclasses.dataclass", "pydantic.dataclasses.dataclass"}


@dataclass(frozen=True)
class Hint:
    """What a hint stands for."""

    kind: Kind
    optional: bool = False
    choices: tuple[Any, ...] = ()
    is_list: bool = False
    """Whether it is a list of `kind`, all there at once."""
    is_stream: bool = False
    """Whether pieces of `kind` come one after the other."""
    is_joined: bool = False
    """Whether the pieces of a stream are one text."""
    fields: tuple[tuple[str, Hint], ...] = field(default=())
    """Fields of a record by name; those with a default are optional."""


class NoHint(Exception):
    """A hint cannot be understood; the message is the hint as it is written."""


def read_hint(node: ast.expr, module: Module, depth: int = 0) -> Hint:
    """Return what a hint stands for; raises `NoHint`."""
    if depth > MAX_DEPTH:
        raise NoHint(ast.unparse(node))
    match node:
        case ast.Constant(value=None):
            return Hint("none")
        case ast.Constant(value=str() as text):
            return read_hint(_parsed(text), module, depth + 1)
        case ast.BinOp(op=ast.BitOr()):
            return _united([read_hint(side, module, depth + 1) for side in (node.left, node.right)])
        case ast.Subscript():
            return _subscript(node, module, depth)
    name = module.dotted(node) or ""
    if name in _KINDS:
        return Hint(_KINDS[name])
    if name in _STREAMS | _JOINED:
        return Hint("text", is_stream=True, is_joined=name in _JOINED)
    found = module.definition(node)
    if found is None:
        raise NoHint(ast.unparse(node))
    place, definition = found
    if isinstance(definition, ast.ClassDef):
        return _class(definition, place, depth)
    if isinstance(definition, ast.expr):
        return read_hint(definition, place, depth + 1)
    raise NoHint(ast.unparse(node))


def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NoHint(text) from error


def _subscript(node: ast.Subscript, module: Module, depth: int) -> Hint:
    name = module.dotted(node.value) or ""
    inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    short = name.rpartition(".")[2]
    if short == "Optional":
        return replace(read_hint(inside[0], module, depth + 1), optional=True)
    if short == "Union":
        return _united([read_hint(item, module, depth + 1) for item in inside])
    if short in {"Annotated", "Required", "NotRequired", "Final"}:
        return read_hint(inside[0], module, depth + 1)
    if short == "Literal":
        choices = tuple(module.value(item) for item in inside)
        given = tuple(choice for choice in choices if choice is not None)
        if any(choice is UNKNOWN for choice in given):
            raise NoHint(ast.unparse(node))
        return Hint("choice", choices=given, optional=len(given) < len(choices))
    if name in _LISTS:
        element = read_hint(inside[0], module, depth + 1)
        return (
            replace(element, is_list=True, fields=()) if len(inside) == 1 else _tuple(inside, module, depth)
        )
    if name in _STREAMS | _JOINED:
        element = read_hint(inside[0], module, depth + 1)
        return replace(element, is_stream=True, is_joined=name in _JOINED)
    if name in _KINDS or short in {"Dict", "dict", "Mapping", "NDArray"}:
        return Hint(_KINDS.get(name, "json"))
    raise NoHint(ast.unparse(node))


def _tuple(inside: list[ast.expr], module: Module, depth: int) -> Hint:
    """Read `tuple[A, B]`: a record without names."""
    if isinstance(inside[1], ast.Constant) and inside[1].value is ...:
        return replace(read_hint(inside[0], module, depth + 1), is_list=True)
    fields = [(f"output{place}", read_hint(item, module, depth + 1)) for place, item in enumerate(inside, 1)]
    return Hint("json", fields=tuple(fields))


def _united(members: list[Hint]) -> Hint:
    optional = any(member.kind == "none" or member.optional for member in members)
    kinds = [member for member in members if member.kind != "none"]
    if not kinds:
        return Hint("none")
    first = kinds[0]
    if all(member.kind == first.kind and member.is_list == first.is_list for member in kinds):
        return replace(first, optional=optional)
    if {member.kind for member in kinds} <= {"integer", "number"}:
        return Hint("number", optional=optional)
    if {member.kind for member in kinds} <= {"text", "file"}:
        return Hint("file", optional=optional)
    return Hint("json", optional=optional)


def _class(node: ast.ClassDef, module: Module, depth: int) -> Hint:
    bases = [module.dotted(base) or "" for base in node.bases]
    if any(base in _ENUMS for base in bases):
        values = [module.value(item.value) for item in node.body if isinstance(item, ast.Assign)]
        known = tuple(value for value in values if isinstance(value, str | int | float))
        if known and len(known) == len(values):
            return Hint("choice", choices=known)
        raise NoHint(node.name)
    fields = record_fields(node, module, depth)
    if fields is None:
        raise NoHint(node.name)
    return Hint("json", fields=fields)


def record_fields(node: ast.ClassDef, module: Module, depth: int) -> tuple[tuple[str, Hint], ...] | None:
    """Return the fields of a class that is a record, its bases' first; None for other classes."""
    if depth > MAX_DEPTH:
        return None
    found: dict[str, Hint] = {}
    is_record = any(module.dotted(_callee(item)) in _DATACLASSES for item in node.decorator_list)
    for base in node.bases:
        if (module.dotted(base) or "") in _RECORDS:
            is_record = True
            continue
        definition = module.definition(base)
        if definition and isinstance(definition[1], ast.ClassDef):
            inherited = record_fields(definition[1], definition[0], depth + 1)
            is_record = is_record or inherited is not None
            found |= dict(inherited or ())
    if not is_record:
        return None
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            hint = read_hint(item.annotation, module, depth + 1)
            found[item.target.id] = replace(hint, optional=hint.optional or item.value is not None)
    return tuple(found.items())


def _callee(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node
