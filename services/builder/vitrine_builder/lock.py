"""A lock: exactly which wheels an environment holds, and the digests that name it and the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vitrine_common.digests import digest_of_json, sha256_bytes

FORMAT_VERSION = 2
"""Counts changes in how an environment is laid out; a new number means new digests for all of them."""


CONDA = "conda"
"""Name that the conda part of a lock has among its packages."""


@dataclass(frozen=True)
class Target:
    """What environments are made for: Python's minor version and the newest wheel platform accepted."""

    python: str = "3.11"
    platform: str = "x86_64-manylinux_2_28"


@dataclass(frozen=True)
class LockedPackage:
    """One package: name (PEP 503), version, and the hashes `sha256:…` of the wheels that may be used.

    `size` is the download's bytes, where the index tells; it takes no part in digests. `source` is the hash
    of the source distribution that the wheel was built from here, and then stands among the hashes too, so
    that the lock can be installed elsewhere. `conda` are the packages of a conda part, which counts as one.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    size: int | None = field(default=None, compare=False)
    source: str | None = None
    conda: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The package as a line of a requirements file with hashes; a conda part as comments."""
        if self.conda:
            return "\n".join(f"# conda {entry}" for entry in self.conda)
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={value}" for value in self.hashes)])


@dataclass(frozen=True)
class SystemLock:
    """Debian packages below the wheels. `digest` names them and the base that they are installed on.

    `packages` are `name=version`, what they depend on included.
    """

    digest: str
    base: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """Packages in the order of their names. `digest` names them, whatever index they came from.

    `system` are the Debian packages below them; None where the environment needs no root of its own.
    """

    packages: tuple[LockedPackage, ...]
    system: SystemLock | None = None
    text: str = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packages", tuple(sorted(self.packages, key=lambda package: package.name)))
        text = "".join(f"{package.text}\n" for package in self.packages)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "digest", sha256_bytes(text.encode()))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the packages as plain values for `from_json`."""
        return [asdict(package) for package in self.packages]

    @classmethod
    def from_text(cls, text: str, sources: Mapping[str, str]) -> Lock:
        """Return the Python packages of a lock of this `text`; `sources` as they were in it, by name.

        Raises:
            ValueError: it is no lock's text.
        """
        packages = []
        conda = tuple(line.removeprefix("# conda ") for line in text.splitlines() if line.startswith("# "))
        if conda:
            digest = hashlib.sha256("\n".join(conda).encode()).hexdigest()
            packages.append(LockedPackage(CONDA, digest[:12], (), conda=conda))
        for line in text.splitlines():
            if not line.startswith("# "):
                head, *hashes = line.split(" --hash=")
                name, version = head.split("==")
                packages.append(LockedPackage(name, version, tuple(hashes), source=sources.get(name)))
        return cls(tuple(packages))

    @classmethod
    def from_json(cls, packages: list[dict[str, Any]]) -> Lock:
        """Return the lock that `to_json` described.

        Raises:
            KeyError, TypeError: it is no description of a lock.
        """
        return cls(
            tuple(
                LockedPackage(
                    entry["name"],
                    entry["version"],
                    tuple(entry["hashes"]),
                    entry.get("size"),
                    entry.get("source"),
                    tuple(entry.get("conda", ())),
                )
                for entry in packages
            )
        )


def environment_digest(lock: Lock, target: Target) -> str:
    """Return the name of the environment that `lock` makes on `target`: equal anywhere."""
    parts = {
        "format": FORMAT_VERSION,
        "lock": lock.digest,
        "python": target.python,
        "platform": target.platform,
    }
    return digest_of_json(parts if lock.system is None else {**parts, "system": lock.system.digest})


def layer_digest(package: LockedPackage, target: Target) -> str:
    """Return the name of the layer that one package makes on `target`: equal anywhere."""
    return digest_of_json(
        {
            "format": FORMAT_VERSION,
            "package": package.text,
            "python": target.python,
            "platform": target.platform,
        }
    )
