"""`claims:` of vitrine.yaml: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnx_bytes
from vitrine_common.bundle import BundleError
from vitrine_common.scan import scan_dataset, scan_directory
from vitrine_common.spec import Claim, SpecError, load_spec

HEAD = "name: m\nonnx: m.onnx\nclaims:\n  - name: acc\n    statement: It is good.\n    command: python e.py\n"
DIGEST = "sha256:" + "a" * 64


def claim_in(lines: str) -> Claim:
    spec = load_spec(HEAD + "    expected: 0.9\n" + lines)
    assert spec.claims is not None
    return spec.claims[0]


@pytest.mark.parametrize(
    ("lines", "name", "version", "path"),
    [
        ("    dataset: held@3\n", "held", "3", None),
        (f"    dataset: held@{DIGEST}\n", "held", DIGEST, None),
        ("    dataset: data/held@3\n", "held", "3", None),
        ("    dataset: ./data//held/\n", None, None, "data/held"),
        ("    dataset: ./odd@name\n", None, None, "odd@name"),
        ("", None, None, None),
    ],
)
def test_a_dataset_is_pushed_or_in_the_bundle(
    lines: str, name: str | None, version: str | None, path: str | None
) -> None:
    claim = claim_in(lines)
    pushed = claim.pushed_dataset
    assert (pushed.name if pushed else None, pushed.version if pushed else None) == (name, version)
    assert claim.bundle_path == path


@pytest.mark.parametrize(
    ("lines", "file", "keys"),
    [
        ("", "stdout", ()),
        ("    metric: test.acc\n", "stdout", ("test", "acc")),
        ("    metric: out/r.json:test.0\n", "out/r.json", ("test", "0")),
        ("    metric: {file: ./r.json}\n", "r.json", ()),
    ],
)
def test_a_metric_has_a_short_form(lines: str, file: str, keys: tuple[str, ...]) -> None:
    metric = claim_in(lines).metric
    assert (metric.file, metric.keys) == (file, keys)


@pytest.mark.parametrize(
    ("lines", "field", "says"),
    [
        ("    dataset: held@\n", "dataset", "has no version"),
        ("    dataset: held@latest\n", "dataset", "has no version"),
        ("    dataset: 'Held Out@1'\n", "dataset", "names no dataset"),
        ("    dataset: ../up\n", "dataset", ".."),
        ("    dataset: /etc\n", "dataset", "absolute"),
        ("    metric: '../r.json:a'\n", "metric", ".."),
        ("    metric: '*.json:a'\n", "metric", "is a pattern"),
        ("    tolerance: about\n", "tolerance", "such as `5%`"),
        ("    tolerance: -1\n", "tolerance", "0 or more"),
        ("    repeats: 21\n", "repeats", "21"),
        ("    direction: up\n", "direction", "write"),
        ("    extend: {}\n", "claims[0]", "no `dataset`"),
        ("    dataset: held@1\n    extend: {path: ../x}\n", "path", ".."),
        ("    dataset: held@1\n    extend: {max_files: 99}\n", "max_files", "99"),
        ("    expectd: 1\n", "expectd", "did you mean `expected`"),
    ],
)
def test_what_cannot_be_a_claim_is_named_by_line_and_field(lines: str, field: str, says: str) -> None:
    with pytest.raises(SpecError) as raised:
        claim_in(lines)
    (problem,) = raised.value.problems
    assert field in problem.field
    assert says in problem.message
    assert "line" in str(problem)


def test_two_claims_of_one_name_are_refused() -> None:
    second = "  - {name: acc, statement: Again., command: python e.py, expected: 1}\n"
    with pytest.raises(SpecError, match="two claims are named `acc`"):
        claim_in(second)


def test_a_claim_may_use_more_than_a_run() -> None:
    text = HEAD + "    expected: 1\n    resources: {timeout: 2h}\nresources: {memory: 1Gi, timeout: 10s}\n"
    spec = load_spec(text)
    assert spec.claims is not None
    limits = spec.claim_limits(spec.claims[0])
    assert (limits.timeout, limits.memory, spec.limits().timeout) == (7200, 1 << 30, 10)


def test_a_path_that_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_bytes.model())
    (tmp_path / "one.csv").write_text("1")
    text = HEAD + "    expected: 1\n    dataset: {}\n"
    for path, says in (("./data", "vitrine data push"), ("./one.csv\n    extend: {}", "needs a directory")):
        (tmp_path / "vitrine.yaml").write_text(text.replace("{}", path, 1))
        with pytest.raises(BundleError) as raised:
            scan_directory(tmp_path)
        assert raised.value.problems[0].field == "claims[0].dataset"
        assert says in raised.value.problems[0].message


def test_a_dataset_is_a_directory_or_a_file_and_its_digest_is_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.csv").write_text("1")
    (tmp_path / "a/.git").mkdir()
    (tmp_path / "a/.git/secret").write_text("2")
    directory, sources = scan_dataset(tmp_path / "a")
    file, _ = scan_dataset(tmp_path / "a/x.csv")
    assert list(sources) == ["x.csv"]
    assert directory.digest == file.digest
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(BundleError):
            scan_dataset(nothing)
