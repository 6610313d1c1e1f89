"""`cog.yaml`: what runs, with which packages.

Source: https://github.com/replicate/cog/blob/main/docs/yaml.md.
"""

from __future__ import annotations

from typing import Any

from vitrine_common.projects.pythons import python_notes
from vitrine_common.spec.document import Document
from vitrine_common.spec.errors import SpecError, SpecProblem

_NOT_DONE = {
    "run": "its commands (`build.run`) are not executed; name packages under `system_packages` instead",
    "pre_install": "its commands (`build.pre_install`) are not executed",
    "cuda": "the packages bring their own CUDA libraries: `build.cuda` is not used",
    "cudnn": "the packages bring their own CUDA libraries: `build.cudnn` is not used",
    "python_extra_index_urls": "only the platform's package index is used",
    "python_find_links": "only the platform's package index is used",
}


def read(document: Document, file: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plain spec of a Cog project and what its author should know. Raises SpecError."""
    data = document.data
    build = data.get("build") or {}
    if not isinstance(build, dict):
        raise SpecError([SpecProblem("build", "must be a mapping", file, document.line(("build",)))])
    target = data.get("predict") or data.get("run")
    if not isinstance(target, str):
        message = "does not say what runs; write `predict: predict.py:Predictor`"
        raise SpecError([SpecProblem("predict", message, file, 1)])
    spec: dict[str, Any] = {"predictor": target, "package": _package(build)}
    if isinstance(data.get("image"), str):
        spec["name"] = data["image"].rpartition("/")[2].partition(":")[0]
    if build.get("gpu") is True:
        spec["resources"] = {"gpu": 1}
    concurrency = data.get("concurrency")
    if isinstance(concurrency, dict) and isinstance(concurrency.get("max"), int):
        spec["scaling"] = {"concurrency": concurrency["max"]}
    return spec, _notes(data, build, file)


def _package(build: dict[str, Any]) -> dict[str, Any]:
    package: dict[str, Any] = {}
    if build.get("python_requirements"):
        package["requirements_file"] = build["python_requirements"]
    elif build.get("python_packages"):
        package["requirements"] = build["python_packages"]
    if build.get("system_packages"):
        package["system"] = build["system_packages"]
    return package


def _notes(data: dict[str, Any], build: dict[str, Any], file: str) -> list[str]:
    found = [f"{file}: {words}" for key, words in _NOT_DONE.items() if build.get(key)]
    found += python_notes(file, "asks for", build.get("python_version"))
    if data.get("environment"):
        found.append(f"{file}: variables (`environment`) are not set; set them in `setup`")
    if data.get("train"):
        found.append(f"{file}: `train` is not used; `vitrine train` takes a `train:` section of vitrine.yaml")
    return found
