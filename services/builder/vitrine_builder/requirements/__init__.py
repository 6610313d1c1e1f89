"""Requirements that somebody else wrote, in each form that authors keep them: read, checked, made one.

Read are `requirements.txt`, `pyproject.toml`, `uv.lock`, conda's `environment.yml`, and a bare list. None of
them may name a place that packages come from: that is the operator's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from vitrine_builder.requirements import conda_file, lines, project, uv_lock
from vitrine_builder.requirements.lines import MAX_BYTES, parse_line, parse_requirements
from vitrine_builder.requirements.model import (
    MAX_REQUIREMENTS,
    CondaPart,
    RequirementLine,
    Requirements,
    RequirementsError,
)

__all__ = [
    "MAX_BYTES",
    "MAX_FILE_BYTES",
    "CondaPart",
    "RequirementLine",
    "Requirements",
    "RequirementsError",
    "bare_list",
    "parse_requirements",
    "read_requirements",
]

MAX_FILE_BYTES = uv_lock.MAX_BYTES
"""Of the largest form; each has a limit of its own."""


def read_requirements(data: bytes, path: str, extras: Sequence[str], python: str) -> Requirements:
    """Return what the file `path` of a bundle requires for Python `python`; its name says which form it has.

    `extras` are optional lists of a `pyproject.toml` or `uv.lock`.

    Raises:
        RequirementsError: the first thing in it that is refused.
    """
    name = PurePosixPath(path).name.lower()
    if name.endswith(".lock"):
        return uv_lock.parse(data, path, extras, python)
    if name.endswith(".toml"):
        return project.parse(data, path, extras, python)
    if extras:
        remedy = "name a pyproject.toml or uv.lock as `requirements_file`, or drop `extras`"
        raise RequirementsError(path, None, "this form has no optional lists", remedy)
    if name.endswith((".yml", ".yaml")):
        return conda_file.parse(data, path, python)
    return lines.parse_requirements(data, path)


def bare_list(requirements: Sequence[str], name: str) -> Requirements:
    """Return the requirements of a list; `line` counts its entries.

    Raises:
        RequirementsError: the first entry that is refused.
    """
    if len(requirements) > MAX_REQUIREMENTS:
        problem = f"more than {MAX_REQUIREMENTS} requirements"
        raise RequirementsError(name, None, problem, "name only what your code imports")
    entries = []
    for number, text in enumerate(requirements, 1):
        if "\n" in text or "\r" in text or not text.strip():
            raise RequirementsError(name, number, "an entry is no single line", "write one requirement each")
        entries.append(parse_line(number, text.strip(), name))
    return Requirements(tuple(entries), name)
