"""Runs inside a sandbox, beside a hostile source: asks its build backend and hands on the answer.

Standard library only, and nothing here is trusted: the builder checks whatever comes out. Source: PEP 517
(backend hooks), PEP 518 (`build-system.requires`), PEP 660 is not used.

    python hooks.py inspect|requires|build
"""

import importlib
import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

WORK = Path.cwd()
ANSWER = WORK / "answer"
DEFAULTS = {"requires": ["setuptools>=40.8.0"], "build-backend": "setuptools.build_meta:__legacy__"}


def unpack() -> Path:
    """Unpack the one archive that is there; return its one folder."""
    archive = next((WORK / "sdist").iterdir())
    place = WORK / "source"
    place.mkdir()
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            file.extractall(place)  # noqa: S202 - the sandbox is what bounds it
    else:
        with tarfile.open(archive) as file:
            if hasattr(tarfile, "data_filter"):
                file.extractall(place, filter="data")
            else:
                file.extractall(place)  # noqa: S202 - as above
    folders = [path for path in place.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise SystemExit("the archive does not hold exactly one folder")
    return folders[0]


def build_system(source: Path) -> dict[str, Any]:
    """Return the table `build-system` of the project, with its defaults."""
    import tomllib

    try:
        table = tomllib.loads((source / "pyproject.toml").read_text()).get("build-system")
    except FileNotFoundError:
        table = None
    if not table:
        return dict(DEFAULTS)
    if "requires" not in table:
        raise SystemExit("pyproject.toml: `build-system` has no `requires`")
    return {**table, "build-backend": table.get("build-backend", DEFAULTS["build-backend"])}


def backend(source: Path, table: dict[str, Any]) -> Any:
    """Import the backend as PEP 517 says: from the environment, or from `backend-path` in the source."""
    for path in reversed(table.get("backend-path", [])):
        sys.path.insert(0, str(source / path))
    module, _, attribute = table["build-backend"].partition(":")
    found = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        found = getattr(found, name)
    return found


def main(step: str) -> None:
    """Answer one question; the answer is a file."""
    source = unpack()
    table = build_system(source)
    ANSWER.mkdir()
    os.chdir(source)
    if step == "inspect":
        (ANSWER / "requires.json").write_text(json.dumps(table["requires"]))
        return
    hooks = backend(source, table)
    if step == "requires":
        asked = getattr(hooks, "get_requires_for_build_wheel", None)
        (ANSWER / "requires.json").write_text(json.dumps(list(asked({})) if asked else []))
    else:
        hooks.build_wheel(str(ANSWER), {})


if __name__ == "__main__":
    # What lies beside this file is no part of the build's environment.
    sys.path[:] = [path for path in sys.path if path not in {"", str(WORK)}]
    main(sys.argv[1])
