"""SBOM and provenance: valid, equal wherever they are made, complete, and silent about people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from vitrine_builder.layers import Layer, list_files
from vitrine_builder.lock import LockedPackage, Target
from vitrine_builder.materials import DebianPart, Materials, WheelPart, licence_of
from vitrine_builder.provenance import PREDICATE_TYPE, provenance
from vitrine_builder.sbom import bill_of_materials
from vitrine_common.digests import sha256_bytes


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


MATERIALS = Materials(
    digest=digest("e"),
    lock=digest("1"),
    target=Target(),
    wheels=(
        WheelPart("six", "1.17.0", (digest("2"),), "MIT"),
        WheelPart("numpy", "2.4.6", (digest("3"), digest("4")), "BSD-3-Clause AND 0BSD"),
        WheelPart("own", "0.1", (digest("5"),), "as you like it", digest("6"), digest("7")),
    ),
    conda=(f"linux-64/zlib=1.3=h4ab18f5_1 {digest('8')}",),
    base=digest("b"),
    release="bookworm",
    architecture="amd64",
    system=digest("9"),
    debian=(
        DebianPart("libc6", "2.36-9+deb12u10", "base"),
        DebianPart("r-base-core", "4.2.2.20221110-2", "system", digest("a")),
    ),
)


def sbom(materials: Materials = MATERIALS) -> Any:
    return json.loads(bill_of_materials(materials))


def test_it_is_what_the_schema_wants() -> None:
    document = bill_of_materials(MATERIALS).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    spoiled = document.replace('"bomFormat": "CycloneDX"', '"bomFormat": "Other"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(spoiled) is not None


def test_equal_materials_give_equal_bytes_and_others_another_number() -> None:
    assert bill_of_materials(MATERIALS) == bill_of_materials(MATERIALS)
    assert sbom()["metadata"]["timestamp"] == "1970-01-01T00:00:00+00:00"
    other = replace(MATERIALS, wheels=MATERIALS.wheels[:2])
    assert sbom()["serialNumber"] != sbom(other)["serialNumber"]


def test_every_part_stands_in_it_with_its_purl_hash_and_licence() -> None:
    parts = {part["name"]: part for part in sbom()["components"]}
    assert parts["six"]["purl"] == "pkg:pypi/six@1.17.0"
    assert parts["six"]["hashes"] == [{"alg": "SHA-256", "content": "2" * 64}]
    assert parts["six"]["licenses"][0]["license"] == {"acknowledgement": "declared", "id": "MIT"}
    assert parts["numpy"]["licenses"][0]["expression"] == "BSD-3-Clause AND 0BSD"
    assert "hashes" not in parts["numpy"], "one of two that are allowed was used"
    assert parts["own"]["licenses"][0]["license"]["name"] == "as you like it"
    assert {item["value"] for item in parts["own"]["properties"]} == {digest("6"), digest("7")}
    assert parts["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=bookworm"
    assert parts["r-base-core"]["hashes"][0]["content"] == "a" * 64
    assert parts["zlib"]["version"] == "1.3"
    assert parts["debian"]["type"] == "operating-system"
    assert parts["python"]["version"] == "3.11"
    below = next(entry for entry in sbom()["dependencies"] if entry["ref"] == "environment")["dependsOn"]
    assert set(below) == {part["bom-ref"] for part in parts.values()}


def test_provenance_names_every_input_and_nobody() -> None:
    document = bill_of_materials(MATERIALS)
    statement = json.loads(provenance(MATERIALS, digest("f"), sha256_bytes(document)))
    assert statement["predicateType"] == PREDICATE_TYPE
    assert [item["digest"]["sha256"] for item in statement["subject"]] == ["e" * 64, "f" * 64]
    definition = statement["predicate"]["buildDefinition"]
    named = {item["digest"]["sha256"][0] for item in definition["resolvedDependencies"]}
    assert named == set("123456789ab"), "lock, wheels, source, its build environment, base, system, archives"
    details = statement["predicate"]["runDetails"]
    assert details["builder"]["version"]["uv"][0].isdigit()
    assert details["byproducts"][0]["digest"]["sha256"] == sha256_bytes(document).removeprefix("sha256:")
    assert "metadata" not in details, "when and for whom is not told"


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: something else\n", "MIT"),
        ("License: BSD 3-Clause\n", "BSD 3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("License: Copyright (c) 2020\n        Ada Lovelace and others\n", ""),
        ("Name: six\n", ""),
    ],
)
def test_a_licence_is_what_the_metadata_says_in_a_few_words(
    tmp_path: Path, metadata: str, licence: str
) -> None:
    place = tmp_path / "lib/python3.11/site-packages/six-1.17.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.4\n{metadata}\nLicense: in the text\n")
    layer = Layer(LockedPackage("six", "1.17.0", ()), tmp_path, 0, list_files(tmp_path))
    assert licence_of(layer, Target()) == licence
