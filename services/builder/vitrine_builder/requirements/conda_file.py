"""Reading conda's `environment.yml`: a Python version, pip's part, and what only conda can provide.

Source: conda's documentation, "Creating an environment file manually". Files that name no more than Python,
pip and a list for pip need no conda; the rest becomes a `CondaPart`.
"""

from __future__ import annotations

import re
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from vitrine_builder.requirements.lines import parse_line
from vitrine_builder.requirements.model import (
    MAX_REQUIREMENTS,
    CondaPart,
    RequirementLine,
    Requirements,
    RequirementsError,
    decode,
)
from vitrine_common.spec.document import Document, read_document
from vitrine_common.spec.errors import SpecError, SpecProblem

MAX_BYTES = 256 * 1024
_KEYS = frozenset({"name", "channels", "dependencies", "variables", "prefix"})
_SPEC = re.compile(r"^(?P<name>[A-Za-z0-9_][\w.-]*)(?P<rest>(?!.*\s-)(?:[\s=<>!~][\w.*+!,|<>=~ -]*)?)$")
_CHANNEL = re.compile(r"^[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?$")
_OPERATORS = ("==", ">=", "<=", "!=", "~=", "<", ">")


def parse(data: bytes, name: str, python: str) -> Requirements:
    """Read the bytes of an `environment.yml`.

    Raises:
        RequirementsError: the first thing in it that is refused.
    """
    document = _read(decode(data, name, MAX_BYTES), name)
    values = document.data
    if not isinstance(values, dict) or not isinstance(values.get("dependencies", []), list):
        raise RequirementsError(name, None, "the file has no list `dependencies`", "write one")
    for key in values:
        if key not in _KEYS:
            raise RequirementsError(
                name, document.line((key,)), f"the key `{key}` is not known", "remove the line"
            )
    if values.get("variables"):
        problem = "environment variables cannot be set here"
        raise RequirementsError(name, document.line(("variables",)), problem, "set them in your code")
    lines, specs = _dependencies(values.get("dependencies", []), document, name)
    if len(lines) + len(specs) > MAX_REQUIREMENTS:
        problem = f"more than {MAX_REQUIREMENTS} requirements"
        raise RequirementsError(name, None, problem, "name only what your code imports")
    channels = _channels(values.get("channels") or [], document, name)
    conda = CondaPart(tuple(specs), channels) if _only_conda(specs, python, name) else None
    return Requirements(tuple(lines), name, conda=conda)


def _read(text: str, name: str) -> Document:
    try:
        return read_document(text, name)
    except SpecError as error:
        problem = next(one for one in error.problems if isinstance(one, SpecProblem))
        raise RequirementsError(name, problem.line, problem.message, "correct the YAML") from None


def _dependencies(
    entries: list[Any], document: Document, name: str
) -> tuple[list[RequirementLine], list[tuple[int, str]]]:
    lines: list[RequirementLine] = []
    specs: list[tuple[int, str]] = []
    for index, entry in enumerate(entries):
        number = document.line(("dependencies", index)) or 0
        if isinstance(entry, dict) and set(entry) == {"pip"} and isinstance(entry["pip"], list):
            for place, text in enumerate(entry["pip"]):
                line = document.line(("dependencies", index, "pip", place)) or number
                if not isinstance(text, str) or not text.strip() or "\n" in text:
                    raise RequirementsError(name, line, "an entry is no requirement", "write `name==version`")
                lines.append(parse_line(line, text.strip(), name))
        elif isinstance(entry, str):
            specs.append((number, _spec(entry, number, name)))
        else:
            problem = "an entry is neither a package nor `pip:` with a list"
            raise RequirementsError(name, number, problem, "write `- numpy=2.4` or `- pip: [numpy==2.4]`")
    return lines, specs


def _spec(entry: str, number: int, name: str) -> str:
    if "::" in entry:
        problem = f"`{entry[:80]}` names a channel"
        raise RequirementsError(name, number, problem, "write the name alone; the operator sets the channels")
    match = _SPEC.match(entry.strip())
    if match is None:
        problem = f"`{entry[:80]}` is not a package of conda"
        raise RequirementsError(name, number, problem, "write a name and a version, as `numpy=2.4`")
    rest = " ".join(match["rest"].split())
    # `numpy 1.26` is conda's way to say `numpy=1.26`; without the space it would be another name.
    between = " " if rest and rest[0] not in "=<>!~" else ""
    return f"{match['name'].lower()}{between}{rest}"


def _channels(entries: Any, document: Document, name: str) -> tuple[str, ...]:
    if not isinstance(entries, list):
        raise RequirementsError(name, document.line(("channels",)), "`channels` is no list", "write one")
    for index, entry in enumerate(entries):
        if not isinstance(entry, str) or not _CHANNEL.match(entry):
            problem = f"the channel `{str(entry)[:80]}` is not a name"
            remedy = "write a channel's name; the operator sets where it is"
            raise RequirementsError(name, document.line(("channels", index)), problem, remedy)
    return tuple(entry for entry in entries if entry != "nodefaults")


def _only_conda(specs: list[tuple[int, str]], python: str, name: str) -> list[tuple[int, str]]:
    """Return what is not pip or Python. Raises RequirementsError for a Python that is not to be had."""
    found = []
    for line, spec in specs:
        match = re.fullmatch(r"(pip|python)(\W.*)?", spec)
        if match is None:
            found.append((line, spec))
        elif match[1] == "python" and not _takes_python((match[2] or "").strip(), python):
            problem = f"`{spec}` is not to be had: models run on Python {python}"
            raise RequirementsError(name, line, problem, f"write `python={python}`")
    return found


def _takes_python(wanted: str, python: str) -> bool:
    """Tell whether `wanted`, the versions behind conda's `python`, takes some patch release of `python`."""
    patches = [f"{python}.{patch}" for patch in range(50)]
    if wanted.startswith(_OPERATORS):
        try:
            versions = SpecifierSet(wanted.replace(" ", ""))
        except InvalidSpecifier:
            return False
        return any(versions.contains(patch) for patch in patches)
    # `=3.11`, `3.11` and `3.11.*` are conda's ways to say: any version that begins so.
    prefix = wanted.removeprefix("=").removesuffix("*").strip(". ")
    return not prefix or any(patch == prefix or patch.startswith(f"{prefix}.") for patch in patches)
