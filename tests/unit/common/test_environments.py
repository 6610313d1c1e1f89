"""What the builder is told of a model file and its bundle."""

from __future__ import annotations

from typing import Literal

import pytest

from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.digests import sha256_bytes
from vitrine_common.environments import build_request
from vitrine_common.errors import Invalid
from vitrine_common.spec import EnvironmentRequest, load_spec

DIGEST = sha256_bytes(b"numpy\n")
MANIFEST = Manifest(spec={}, files=(FileEntry(path="deps/r.txt", digest=DIGEST, size=6),))


def wanted(file: str | None, preset: Literal["onnx"] | None = None) -> EnvironmentRequest:
    return EnvironmentRequest("3.11", "pip", file, preset)


def test_a_requirements_file_is_named_by_its_bytes() -> None:
    request = build_request(wanted("deps/r.txt"), MANIFEST)
    assert (request.requirements_digest, request.requirements_name) == (DIGEST, "deps/r.txt")
    assert request.preset is None


def test_without_a_file_the_preset_or_nothing_is_asked_for() -> None:
    assert build_request(wanted(None, "onnx"), MANIFEST).preset == "onnx"
    bare = build_request(wanted(None), MANIFEST)
    assert (bare.requirements_digest, bare.preset) == (None, None)


def test_a_list_in_the_file_itself_needs_no_other() -> None:
    spec = load_spec("name: m\nmodel: {command: python a.py}\npackage: [numpy==2.4, pandas]")
    request = build_request(spec.environment_request(), MANIFEST)
    assert request.requirements == ("numpy==2.4", "pandas")
    assert (request.requirements_name, request.requirements_digest) == ("package.requirements", None)


def test_optional_lists_of_a_file_are_passed_on() -> None:
    package = "package: {requirements_file: deps/r.txt, extras: [gpu]}"
    spec = load_spec(f"name: m\nonnx: m.onnx\n{package}\ntrain: {{command: python train.py}}")
    assert build_request(spec.environment_request(), MANIFEST).extras == ("gpu",)
    assert build_request(spec.train_environment_request(), MANIFEST).extras == ("gpu",)


def test_a_file_that_is_not_there_is_named_and_never_a_bare_environment() -> None:
    with pytest.raises(Invalid, match=r"deps/other\.txt"):
        build_request(wanted("deps/other.txt"), MANIFEST)
