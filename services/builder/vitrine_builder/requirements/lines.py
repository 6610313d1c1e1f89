"""Reading a requirements.txt that somebody else wrote: names and versions, nothing that reaches further.

Accepted are the lines of PEP 508 (name, extras, version specifiers, markers), `--hash` options, comments
and line continuations. Whatever names a place (an index, a URL, a path, another file) or reads the
environment is refused with its line number and what to write instead: where packages come from is the
operator's decision, and the builder opens no file that an author names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from vitrine_builder.requirements.model import (
    MAX_REQUIREMENTS,
    RequirementLine,
    Requirements,
    RequirementsError,
    decode,
)

MAX_BYTES = 512 * 1024
MAX_LINES = 10_000
MAX_LINE_LENGTH = 16_000

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH_OPTION = re.compile(r"\s--hash(?:=|\s+)(\S+)")
_HASH = re.compile(r"^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]|%[A-Za-z_]+%")
_PLACE = re.compile(
    r"^(?:[a-z+]+:|\.{0,2}/|~|\\\\|[A-Za-z]:[\\/])|^[^\s;@]*\.(?:whl|zip|tar\.gz|tar\.bz2|tgz)\b|^\.\.?$",
    re.IGNORECASE,
)
_CONDA_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)=([^=\s]+)(?:=\S*)?$")

_OPERATOR = "remove the line; the operator of the platform sets where packages come from"
_WHEELS = "remove the line; the platform installs wheels only"
_SOURCE = "put the package's source into the bundle and import it from there, or name a published release"
_OPTIONS = {
    "-r": "write the lines of that file into this one",
    "--requirement": "write the lines of that file into this one",
    "-c": "write the versions of that file into this one, for example `numpy<2`",
    "--constraint": "write the versions of that file into this one, for example `numpy<2`",
    "-e": _SOURCE,
    "--editable": _SOURCE,
    "-i": _OPERATOR,
    "--index-url": _OPERATOR,
    "--extra-index-url": _OPERATOR,
    "--no-index": _OPERATOR,
    "-f": _OPERATOR,
    "--find-links": _OPERATOR,
    "--trusted-host": _OPERATOR,
    "--no-binary": _WHEELS,
    "--only-binary": _WHEELS,
    "--prefer-binary": _WHEELS,
    "--require-hashes": "remove the line; the platform always checks hashes",
    "--pre": "name the pre-release that you want, for example `package==2.0rc1`",
}
_UNKNOWN_OPTION = "remove the option; only `--hash=sha256:…` may follow a requirement"


def parse_requirements(data: bytes, name: str = "requirements.txt") -> Requirements:
    """Read the bytes of a requirements file; `name` is what errors call it.

    Raises:
        RequirementsError: the first thing in it that is refused.
    """
    text = decode(data, name, MAX_BYTES)
    lines = []
    for number, logical in _logical_lines(text, name):
        lines.append(parse_line(number, logical, name))
        if len(lines) > MAX_REQUIREMENTS:
            problem = f"more than {MAX_REQUIREMENTS} requirements"
            raise RequirementsError(name, number, problem, "name only what your code imports")
    return Requirements(tuple(lines), name)


def _logical_lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Join continued lines and drop comments; yield each with the number of its first line."""
    physical = re.split(r"\r\n|\r|\n", text)
    if len(physical) > MAX_LINES:
        problem = f"the file has {len(physical)} lines, and {MAX_LINES} are allowed"
        raise RequirementsError(name, None, problem, "name only what your code imports")
    start, parts = 0, list[str]()
    for number, line in enumerate(physical, 1):
        start = start if parts else number
        continued = line.endswith("\\") and not line.lstrip().startswith("#")
        parts.append(line[:-1] if continued else line)
        if continued and number < len(physical):
            continue
        logical = _COMMENT.sub("", "".join(parts)).strip()
        parts = []
        if len(logical) > MAX_LINE_LENGTH:
            problem = f"the line is longer than {MAX_LINE_LENGTH} characters"
            raise RequirementsError(name, start, problem, "write one requirement a line")
        if logical:
            yield start, logical


def parse_line(number: int, logical: str, name: str) -> RequirementLine:
    """Read one requirement, hashes included; `number` and `name` are what errors call its place.

    Raises:
        RequirementsError: it is refused.
    """
    if logical.startswith("-"):
        option = re.split(r"[=\s]", logical, maxsplit=1)[0]
        option = option if option.startswith("--") else option[:2]
        remedy = _OPTIONS.get(option, "remove the option; write one requirement a line, as `name==version`")
        raise RequirementsError(name, number, f"the option `{option}` is not allowed", remedy)
    if _VARIABLE.search(logical):
        raise RequirementsError(
            name, number, "environment variables are not expanded", "write the value itself"
        )
    hashes = _parse_hashes(number, logical, name)
    text = _HASH_OPTION.sub("", f" {logical}").strip()
    if option_match := re.search(r"\s(--?[A-Za-z][\w-]*)", text):
        raise RequirementsError(
            name, number, f"the option `{option_match[1]}` is not allowed", _UNKNOWN_OPTION
        )
    requirement = _parse_requirement(number, text, name)
    return RequirementLine(number, canonicalize_name(requirement.name), _normal_text(requirement), hashes)


def _parse_hashes(number: int, logical: str, name: str) -> tuple[str, ...]:
    hashes = tuple(match.lower() for match in _HASH_OPTION.findall(f" {logical}"))
    for value in hashes:
        if not _HASH.match(value):
            problem = f"`--hash={value[:80]}` is not a hash that is accepted"
            raise RequirementsError(name, number, problem, "write `--hash=sha256:` and 64 hexadecimal digits")
    return hashes


def _parse_requirement(number: int, text: str, name: str) -> Requirement:
    release = "name a published release, for example `package==1.2`"
    if _PLACE.search(text):
        raise RequirementsError(name, number, f"`{_short(text)}` is a path or an address", release)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        problem = f"`{_short(text)}` is not a requirement"
        raise RequirementsError(name, number, problem, _remedy(text)) from None
    if requirement.url:
        problem = f"`{requirement.name}` is taken from an address"
        raise RequirementsError(name, number, problem, release.replace("package", requirement.name))
    return requirement


def _remedy(text: str) -> str:
    if pin := _CONDA_PIN.match(text):
        return f"write `{pin[1]}=={pin[2]}`"
    if len(text.split()) == 2 and re.match(r"^[\d.]+$", text.split()[1]):
        return "write `{}=={}`".format(*text.split())
    return "write a name and versions, for example `numpy>=2,<3`"


def _normal_text(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{requirement.specifier}{marker}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
