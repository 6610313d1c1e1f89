"""Solves and installs conda packages with rattler. Runs alone, as a child of the builder; JSON in, JSON out.

No script of a package runs: link scripts are never executed, and prefixes are rewritten as files are linked.

    {"do": "solve", "channels", "specs", "subdir", "virtual": {name: version}, "constraints", "cache"}
    {"do": "install", …, "tree", "inside"}: as solve, and linked below `tree` as if that lay at `inside`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from rattler import (
    Gateway,
    GenericVirtualPackage,
    PackageName,
    RepoDataRecord,
    Version,
    install,
    solve,
)
from rattler.exceptions import GatewayError, SolverError
from rattler.package.build_string import BuildString


async def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; return the packages, or which kind of failure it was and its words."""
    cache = Path(asked["cache"])
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
        for name, version in asked["virtual"].items()
    ]
    try:
        records = await solve(
            asked["channels"],
            asked["specs"],
            platforms=[asked["subdir"], "noarch"],
            gateway=Gateway(cache_dir=cache / "repodata"),
            virtual_packages=virtual,
            constraints=asked["constraints"],
        )
        if asked["do"] == "install":
            await install(
                records,
                target_prefix=asked["tree"],
                alternative_target_prefix=asked["inside"],
                cache_dir=cache / "packages",
                execute_link_scripts=False,
                show_progress=False,
            )
    except SolverError as error:
        return {"failure": "unsatisfiable", "words": str(error)}
    except GatewayError as error:
        return {"failure": "unreachable", "words": str(error)}
    return {"packages": [_plain(record) for record in records]}


def _plain(record: RepoDataRecord) -> dict[str, Any]:
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "subdir": record.subdir,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "size": record.size,
    }


if __name__ == "__main__":
    json.dump(asyncio.run(main(json.load(sys.stdin))), sys.stdout)
    sys.stdout.flush()
    # rattler's threads outlive the loop, and crash an interpreter that is taken down below them.
    os._exit(0)
