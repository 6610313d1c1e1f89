"""One Python file of a bundle as text: its imports, definitions and constants."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from vitrine_common.spec.errors import SpecError, SpecProblem

ReadText = Callable[[str], str | None]
"""Returns the text of a bundle's file by its path, or None where there is none."""
MAX_TEXT = 2_000_000
UNKNOWN = object()
"""Stands for a value that only running the code would tell."""
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.expr


class Module:
    """The names of one file, as far as its top level says."""

    def __init__(self, path: str, read: ReadText) -> None:
        text = read(path)
        if text is None:
            raise SpecError([SpecProblem("predictor", f"`{path}` is not in the bundle", "vitrine.yaml")])
        if len(text) > MAX_TEXT:
            raise SpecError([SpecProblem("predictor", f"is larger than {MAX_TEXT} characters", path)])
        self.path = path
        self._read = read
        self._others: dict[str, Module | None] = {}
        self.imports: dict[str, str] = {}
        self.definitions: dict[str, Definition] = {}
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            raise SpecError([SpecProblem("predictor", f"is not Python 3.11: {error}", path, line)]) from error
        self._note(tree.body)

    def _note(self, body: list[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.Import():
                    for alias in node.names:
                        name = alias.asname or alias.name.split(".")[0]
                        self.imports[name] = alias.name if alias.asname else name
                case ast.ImportFrom():
                    for alias in node.names:
                        base = "." * node.level + (node.module or "")
                        dot = "" if base.endswith(".") or not base else "."
                        self.imports[alias.asname or alias.name] = f"{base}{dot}{alias.name}"
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.definitions[node.name] = node
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.definitions[name] = value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self.definitions[name] = value
                case ast.If() | ast.Try():
                    self._note([*node.body, *(part for part in node.orelse)])

    @property
    def uses_cog(self) -> bool:
        """Whether anything of Cog is imported."""
        return any(name.split(".")[0] == "cog" for name in self.imports.values())

    def dotted(self, node: ast.expr) -> str | None:
        """Return the full name of what an expression names, such as `typing.Optional`."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else None
        return None

    def definition(self, node: ast.expr, depth: int = 0) -> tuple[Module, Definition] | None:
        """Return what a name stands for, here or in the file of the bundle that it is imported from."""
        if isinstance(node, ast.Name) and node.id in self.definitions:
            return self, self.definitions[node.id]
        full = self.dotted(node)
        if full is None or "." not in full or depth > 4:
            return None
        module, _, name = full.rpartition(".")
        other = self._other(module)
        return other.definition(ast.Name(id=name), depth + 1) if other else None

    def _other(self, name: str) -> Module | None:
        if name not in self._others:
            self._others[name] = self._load(name)
        return self._others[name]

    def _load(self, name: str) -> Module | None:
        here = PurePosixPath(self.path).parent
        stripped = name.lstrip(".")
        parts = PurePosixPath(*stripped.split(".")) if stripped else PurePosixPath()
        up = max(0, len(name) - len(stripped) - 1)
        beside = PurePosixPath(*here.parts[: len(here.parts) - up]) / parts
        for base in (beside, parts):
            for path in (f"{base}.py", str(base / "__init__.py")):
                if self._read(path) is not None and path != self.path:
                    return Module(path, self._read)
        return None

    def value(self, node: ast.expr | None, depth: int = 0) -> Any:
        """Return the value of literals, names of them, and keys of mappings, else `UNKNOWN`."""
        if node is None or depth > 8:
            return UNKNOWN
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        match node:
            case ast.Name() | ast.Attribute():
                found = self.definition(node)
                if found and isinstance(found[1], ast.expr):
                    return found[0].value(found[1], depth + 1)
            case ast.Call(func=ast.Name(id="list" | "sorted" | "tuple" as name), args=[inner]):
                values = self.value(inner, depth + 1)
                return sorted(values) if name == "sorted" and _sortable(values) else _listed(values)
            case ast.Call(func=ast.Attribute(value=inner, attr="keys"), args=[]):
                return self.keys_of(inner, depth)
            case ast.List() | ast.Tuple():
                items = [self.value(item, depth + 1) for item in node.elts]
                return UNKNOWN if any(item is UNKNOWN for item in items) else items
            case ast.Dict():
                return self.keys_of(node, depth)
            case ast.BinOp(op=ast.Add()):
                left, right = self.value(node.left, depth + 1), self.value(node.right, depth + 1)
                same = type(left) is type(right) and isinstance(left, str | list | int | float)
                return left + right if same else UNKNOWN
        return UNKNOWN

    def keys_of(self, node: ast.expr, depth: int) -> Any:
        """Return the keys of a mapping whose values need not be constant, or `UNKNOWN`."""
        if isinstance(node, ast.Name | ast.Attribute):
            found = self.definition(node)
            return (
                found[0].keys_of(found[1], depth + 1) if found and isinstance(found[1], ast.expr) else UNKNOWN
            )
        if not isinstance(node, ast.Dict):
            return UNKNOWN
        keys = [self.value(key, depth + 1) for key in node.keys]
        return UNKNOWN if any(key is UNKNOWN for key in keys) else keys


def _listed(values: Any) -> Any:
    return list(values) if isinstance(values, list | tuple | dict | set) else UNKNOWN


def _sortable(values: Any) -> bool:
    if not isinstance(values, list | tuple | dict | set):
        return False
    kinds = {type(item) for item in values}
    return len(kinds) == 1 and kinds <= {str, int, float}
