"""Reading `uv.lock`: the versions and hashes that it fixes, as far as they concern one target.

Source: the lock format of uv (version 1): a package has `name`, `version`, `source`, `dependencies`, `sdist`
and `wheels`; the project itself has a source `virtual` or `editable` of `"."`. The addresses in it are not
used: the operator's indexes deliver, and the hashes say whether they deliver the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from vitrine_builder.requirements.model import (
    MAX_REQUIREMENTS,
    RequirementLine,
    Requirements,
    RequirementsError,
    decode,
)
from vitrine_builder.requirements.project import check_python, line_of, read_toml

MAX_BYTES = 8 * 1024 * 1024
_LOCAL = ("virtual", "editable", "directory")
_AGAIN = "run `uv lock` again and push the file as it is"


def parse(data: bytes, name: str, extras: Sequence[str], python: str) -> Requirements:
    """Read the bytes of a `uv.lock`: every package that the project needs on Linux with Python `python`.

    Raises:
        RequirementsError: it is none, or needs a package that comes from no index.
    """
    text = decode(data, name, MAX_BYTES)
    document = read_toml(text, name)
    packages = document.get("package")
    if document.get("version") != 1 or not isinstance(packages, list):
        raise RequirementsError(name, None, "the file is no lock of uv (version 1)", _AGAIN)
    check_python(document.get("requires-python"), text, name, python)
    try:
        graph = _Graph(packages, text, name, _environment(python))
        return Requirements(tuple(graph.walk(extras)), name, exact=True)
    except (KeyError, TypeError, AttributeError, ValueError, InvalidMarker, UndefinedEnvironmentName) as bad:
        problem = f"the lock has an entry that is not understood ({type(bad).__name__}: {str(bad)[:80]})"
        raise RequirementsError(name, None, problem, _AGAIN) from None


def _environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
    }


@dataclass(frozen=True)
class _Need:
    """A package that is needed, with the extras of it that are."""

    name: str
    version: str | None
    extra: str | None


class _Graph:
    """The packages of a lock and what each depends on."""

    def __init__(
        self, packages: list[dict[str, Any]], text: str, name: str, environment: dict[str, str]
    ) -> None:
        self._packages: dict[str, list[dict[str, Any]]] = {}
        for package in packages:
            self._packages.setdefault(canonicalize_name(package["name"]), []).append(package)
        self._text = text
        self._name = name
        self._environment = environment

    def walk(self, extras: Sequence[str]) -> Iterator[RequirementLine]:
        """Yield each package that the project, with its optional lists `extras`, needs."""
        root = self._root()
        waiting = list(self._needs(root.get("dependencies", []), frozenset(extras)))
        for extra in extras:
            waiting += self._needs(self._optional(root, extra), frozenset(extras))
        seen = set[_Need]()
        yielded = dict[str, str]()
        while waiting:
            need = waiting.pop()
            if need in seen:
                continue
            seen.add(need)
            package = self._package(need)
            active = frozenset({need.extra} if need.extra else ())
            if need.extra is None:
                waiting += self._needs(package.get("dependencies", []), active)
                if package is not root and yielded.setdefault(need.name, package["version"]):
                    yield self._line(package)
            else:
                optional = package.get("optional-dependencies", {}).get(need.extra, [])
                waiting += self._needs(optional, active)
            if len(seen) > 4 * MAX_REQUIREMENTS:
                raise RequirementsError(self._name, None, "the lock has too many packages", "lock fewer")

    def _root(self) -> dict[str, Any]:
        for same in self._packages.values():
            for package in same:
                if any(package.get("source", {}).get(kind) == "." for kind in _LOCAL):
                    return package
        raise RequirementsError(self._name, None, "the lock names no project of its own", _AGAIN)

    def _optional(self, root: dict[str, Any], extra: str) -> list[dict[str, Any]]:
        for table in ("optional-dependencies", "dev-dependencies"):
            for key, needs in root.get(table, {}).items():
                if canonicalize_name(key) == canonicalize_name(extra):
                    return list(needs)
        raise RequirementsError(self._name, None, f"there is no optional list `{extra}`", "drop the name")

    def _needs(self, dependencies: list[dict[str, Any]], extras: frozenset[str]) -> Iterator[_Need]:
        for dependency in dependencies:
            marker = dependency.get("marker")
            if marker is not None and not self._holds(marker, extras):
                continue
            name, version = canonicalize_name(dependency["name"]), dependency.get("version")
            yield _Need(name, version, None)
            for extra in dependency.get("extra", ()):
                yield _Need(name, version, extra)

    def _holds(self, marker: str, extras: frozenset[str]) -> bool:
        parsed = Marker(marker)
        return any(parsed.evaluate({**self._environment, "extra": extra}) for extra in ("", *sorted(extras)))

    def _package(self, need: _Need) -> dict[str, Any]:
        same = self._packages.get(need.name, [])
        fitting = [one for one in same if need.version is None or one.get("version") == need.version]
        if len(fitting) > 1:
            fitting = [one for one in fitting if self._is_for_target(one)][:1]
        if not fitting:
            raise RequirementsError(
                self._name, None, f"the lock needs `{need.name}` and does not have it", _AGAIN
            )
        return fitting[0]

    def _is_for_target(self, package: dict[str, Any]) -> bool:
        markers = package.get("resolution-markers", [])
        return not markers or any(self._holds(marker, frozenset()) for marker in markers)

    def _line(self, package: dict[str, Any]) -> RequirementLine:
        name = canonicalize_name(package["name"])
        number = line_of(self._text, f'name = "{package["name"]}"\nversion = "{package["version"]}"') or 0
        source = package.get("source", {})
        if "registry" not in source:
            kind = next(iter(source), "nothing")
            problem = f"`{name}` comes from {kind} and not from an index"
            remedy = "put its source into the bundle and import it from there, or name a published release"
            raise RequirementsError(self._name, number, problem, remedy)
        try:
            version = Version(package["version"])
        except InvalidVersion:
            raise RequirementsError(self._name, number, f"`{name}` has no version", _AGAIN) from None
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        hashes = sorted({str(file["hash"]) for file in files if str(file.get("hash", "")).startswith("sha")})
        return RequirementLine(number, name, f"{name}=={version}", tuple(hashes))
