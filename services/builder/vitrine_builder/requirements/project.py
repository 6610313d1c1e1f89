"""Reading `pyproject.toml`: the dependencies of `[project]`, optional lists and dependency groups.

Sources: PyPA's "pyproject.toml specification" and PEP 735 (dependency groups). No build backend is asked:
what is `dynamic` is not known without running the author's code.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from vitrine_builder.requirements.lines import parse_line
from vitrine_builder.requirements.model import (
    MAX_REQUIREMENTS,
    RequirementLine,
    Requirements,
    RequirementsError,
    decode,
)

MAX_BYTES = 512 * 1024
_MAX_GROUPS = 50


def parse(data: bytes, name: str, extras: Sequence[str], python: str) -> Requirements:
    """Read the bytes of a `pyproject.toml`; `extras` are lists of it that are wanted too.

    Raises:
        RequirementsError: the first thing in it that is refused.
    """
    text = decode(data, name, MAX_BYTES)
    document = read_toml(text, name)
    table = _table(document, "project", name)
    if not table:
        remedy = 'write `[project]` with `dependencies = ["numpy>=2"]`, or a requirements.txt'
        raise RequirementsError(name, None, "there is no `[project]` table", remedy)
    if "dependencies" in table.get("dynamic", []):
        remedy = "write them under `[project]`, or into a requirements.txt"
        raise RequirementsError(
            name, line_of(text, "dynamic"), "the dependencies are `dynamic`, known only to a build", remedy
        )
    check_python(table.get("requires-python"), text, name, python)
    reader = _Reader(text, name)
    found = reader.read(table.get("dependencies", []), "project.dependencies")
    optional = _by_name(_table(table, "optional-dependencies", name))
    groups = _by_name(_table(document, "dependency-groups", name))
    for extra in extras:
        key = canonicalize_name(extra)
        if key in optional:
            found += reader.read(optional[key], f"project.optional-dependencies.{extra}")
        elif key in groups:
            found += reader.group(key, groups, ())
        else:
            known = ", ".join(sorted({*optional, *groups})) or "none"
            raise RequirementsError(name, None, f"there is no optional list `{extra}`", f"it has {known}")
    if len(found) > MAX_REQUIREMENTS:
        problem = f"more than {MAX_REQUIREMENTS} requirements"
        raise RequirementsError(name, None, problem, "name only what your code imports")
    return Requirements(tuple(found), name)


def read_toml(text: str, name: str) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises:
        RequirementsError: it is none.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise RequirementsError(name, None, f"the file is not TOML: {error}", "correct it") from None


def line_of(text: str, wanted: str) -> int | None:
    """Return the first line that has `wanted`, from 1; TOML readers keep no places."""
    place = text.find(wanted)
    return None if place < 0 else text.count("\n", 0, place) + 1


def check_python(specifier: object, text: str, name: str, python: str) -> None:
    """Check that a `requires-python` takes Python `python` in some patch release.

    Raises:
        RequirementsError: it does not, or is none.
    """
    if specifier is None:
        return
    line = line_of(text, "requires-python")
    try:
        allowed = SpecifierSet(str(specifier))
    except InvalidSpecifier:
        remedy = f'write `requires-python = ">={python}"`'
        raise RequirementsError(name, line, f"`{specifier}` names no Python versions", remedy) from None
    if not any(allowed.contains(f"{python}.{patch}") for patch in range(50)):
        problem = f"it asks for Python {specifier}, and models run on Python {python}"
        raise RequirementsError(name, line, problem, f"let `requires-python` take {python}")


def _table(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise RequirementsError(name, None, f"`{key}` is no table", "write it as a table")
    return value


def _by_name(table: dict[str, Any]) -> dict[str, Any]:
    return {canonicalize_name(key): value for key, value in table.items()}


class _Reader:
    """Turns lists of requirements into lines, each with its place in the file's text."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._groups = 0

    def read(self, value: object, key: str) -> list[RequirementLine]:
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise RequirementsError(
                self._name, line_of(self._text, key), f"`{key}` is no list of texts", "write one"
            )
        return [self._line(entry) for entry in value]

    def group(self, key: str, groups: dict[str, Any], within: tuple[str, ...]) -> list[RequirementLine]:
        """Read a dependency group and the groups that it includes."""
        self._groups += 1
        if key in within or self._groups > _MAX_GROUPS:
            raise RequirementsError(self._name, None, f"the group `{key}` includes itself", "untie it")
        if key not in groups or not isinstance(groups[key], list):
            problem = f"there is no dependency group `{key}` that is a list"
            raise RequirementsError(self._name, None, problem, "write one, or drop the name")
        found = []
        for entry in groups[key]:
            if isinstance(entry, str):
                found.append(self._line(entry))
            elif isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
                found += self.group(canonicalize_name(entry["include-group"]), groups, (*within, key))
            else:
                raise RequirementsError(
                    self._name, None, f"the group `{key}` has an entry that is no requirement", "remove it"
                )
        return found

    def _line(self, entry: str) -> RequirementLine:
        quoted = json.dumps(entry, ensure_ascii=False)
        number = line_of(self._text, quoted) or line_of(self._text, f"'{entry}'") or 0
        if "\n" in entry or not entry.strip():
            raise RequirementsError(self._name, number, "an entry is no single line", "write one requirement")
        return parse_line(number, entry.strip(), self._name)
