import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vitrine_common.bundle import check_runnable
from vitrine_common.scan import scan_directory
from vitrine_common.spec import ModelKind, coerce_inputs, invocation

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/vitrine.yaml"))


def test_there_are_the_promised_examples() -> None:
    assert {"digits", "script-filter", "flags-text", "predictor-writer"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_a_valid_bundle_with_a_readme(name: str) -> None:
    scan = scan_directory(EXAMPLES / name)
    assert scan.spec.name == name
    assert scan.spec.warnings() == []
    assert (EXAMPLES / name / "README.md").read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("path", ["digits/requirements-train.txt", "script-filter/requirements.txt"])
def test_requirements_are_pinned(path: str) -> None:
    lines = (EXAMPLES / path).read_text().splitlines()
    assert lines
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9.]+", line) for line in lines), lines


def test_digits_can_be_trained_before_there_is_a_model() -> None:
    scan = scan_directory(EXAMPLES / "digits")
    assert scan.spec.kind() is ModelKind.ONNX
    assert not (EXAMPLES / "digits" / "model.onnx").exists(), "the training writes it elsewhere"
    assert [problem.field for problem in check_runnable(scan.spec, scan.manifest)] == ["onnx"]
    assert scan.spec.train is not None
    assert scan.spec.train.outputs == ["model.onnx"]
    assert scan.spec.train_environment_request().requirements_file == "requirements-train.txt"
    form = scan.spec.to_harness()
    assert form["inputs"][0]["tensor"]["size"] == [8, 8]
    assert [(output["name"], output["type"]) for output in form["outputs"]] == [
        ("digit", "label"),
        ("probabilities", "labels"),
    ]
    assert all(output["tensor"]["labels"] == list("0123456789") for output in form["outputs"])


def test_samples_of_digits_are_digits_of_eight_by_eight_cells() -> None:
    samples = EXAMPLES / "digits" / "samples"
    labels = json.loads((samples / "labels.json").read_text())
    declared = scan_directory(EXAMPLES / "digits").spec.effective_inputs()[0]
    assert sorted(f"samples/{name}" for name in labels) == sorted(getattr(declared, "examples", []))
    for name in labels:
        with Image.open(samples / name) as image:
            assert (image.size, image.mode) == ((160, 160), "L")
            cells = image.resize((8, 8), Image.Resampling.NEAREST)
            assert cells.resize((160, 160), Image.Resampling.NEAREST).tobytes() == image.tobytes()
            assert image.getextrema() == (0, 255)


def test_the_filter_turns_its_sample_into_a_print(tmp_path: Path) -> None:
    scan = scan_directory(EXAMPLES / "script-filter")
    sample = scan.manifest.entry("samples/harbour.jpg")
    assert sample is not None
    given = {
        "digest": sample.digest,
        "size": sample.size,
        "media_type": "image/jpeg",
        "filename": "harbour.jpg",
    }
    values, problems = coerce_inputs(scan.spec, {"image": given})
    run = invocation(scan.spec, values, scan.manifest.directories)
    assert problems == []
    assert run.argv == ("python", "filter.py")
    assert [file.destination for file in run.files] == ["datasets/testA/image.jpg"]
    with Image.open(scan.sources["samples/harbour.jpg"]) as image:
        assert image.format == "JPEG"
    assert scan.spec.to_harness()["outputs"][0]["pattern"] == "results/duotone/**/*.png"


def test_the_text_example_trains_and_speaks_with_python_alone(tmp_path: Path) -> None:
    scan = scan_directory(EXAMPLES / "flags-text")
    for path, source in scan.sources.items():
        (tmp_path / path).write_bytes(source.read_bytes())
    assert scan.spec.train is not None
    trained = execute(scan.spec.train.command.split(), tmp_path)
    metrics = [json.loads(line) for line in trained.splitlines() if line.startswith("{")]
    bits = [line["bits_per_character"] for line in metrics]
    assert bits[-1] < 2.5 < bits[0] - 1
    values, problems = coerce_inputs(scan.spec, {"prompt": "--Marta", "length": "40", "seed": 5})
    assert problems == []
    command = list(invocation(scan.spec, values).argv)
    text = execute(command, tmp_path)
    assert text.startswith("--Marta")
    assert len(text.rstrip("\n")) == len("--Marta") + 40
    assert execute(command, tmp_path) == text
    assert execute([*command, "--seed", "6"], tmp_path) != text


def execute(argv: list[str], directory: Path) -> str:
    assert argv[0] == "python"
    command = [sys.executable, *argv[1:]]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
