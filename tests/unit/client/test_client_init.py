"""Drafts of vitrine.yaml for small directories; nothing in them is ever run."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from vitrine.cli.app import main
from vitrine.detection import draft_directory
from vitrine.errors import BadBundle
from vitrine_common.spec import Spec, load_spec

EXAMPLES = Path(__file__).parents[3] / "examples"


def drafted(folder: Path, **files: str) -> tuple[Spec, tuple[str, ...]]:
    """Write `files` (name with `_` for the dot before its suffix) and return the draft's spec and notes."""
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(dedent(text))
    draft = draft_directory(folder)
    return load_spec(draft.text), draft.notes


def test_flags_become_typed_inputs(tmp_path: Path) -> None:
    spec, notes = drafted(
        tmp_path,
        predict_py="""
            import argparse, pathlib
            import torch
            raise SystemExit("nobody runs this")
            parser = argparse.ArgumentParser()
            parser.add_argument("-p", "--prompt", default="Once: upon", help='What "begins" it')
            parser.add_argument("--steps", type=int, default=20)
            parser.add_argument("--scale", default=7.5)
            parser.add_argument("--style", choices=["yes", "no"], default="no")
            parser.add_argument("--init-image", type=pathlib.Path, required=True)
            parser.add_argument("--table_file")
            parser.add_argument("--device", default=torch.device("cpu"))
            parser.add_argument("--half", action="store_true")
            parser.add_argument("extra", nargs="*")
            parser.add_argument("--output", default="out/image.png")
        """,
    )
    found = {item.name: item for item in spec.effective_inputs()}
    kinds = {name: item.type for name, item in found.items()}
    assert kinds == {
        "prompt": "text",
        "steps": "number",
        "scale": "number",
        "style": "choice",
        "init-image": "image",
        "table_file": "file",
        "device": "text",
    }
    assert getattr(found["prompt"], "default", None) == "Once: upon"
    assert found["prompt"].description == 'What "begins" it'
    assert getattr(found["steps"], "integer", None) is True
    assert getattr(found["style"], "choices", None) == ["yes", "no"]
    assert found["init-image"].must_be_given
    assert not found["table_file"].must_be_given
    assert [(one.type, one.path) for one in spec.effective_outputs()] == [("image", "out/image.png")]
    text = " ".join(notes)
    assert "--half" in text
    assert "make it --extra" in text
    assert "torch" in text


def test_a_script_that_reads_and_writes_a_picture(tmp_path: Path) -> None:
    spec, notes = drafted(
        tmp_path,
        requirements_txt="pillow==12.0.0\n",
        filter_py="""
            from pathlib import Path
            from PIL import Image
            TARGET = Path("results/out.png")
            weights = open("model.pth", "rb")
            with Image.open("data/in.jpg") as picture:
                picture.save(TARGET)
        """,
    )
    assert spec.model is not None
    assert spec.model.command == "python filter.py"
    assert spec.model.input is not None
    assert spec.model.input.download_destination == "data/in.jpg"
    assert spec.model.output is not None
    assert spec.model.output.path == "results/out.png"
    assert spec.package.requirements_file == "requirements.txt"
    assert notes == ()


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"uv.lock": "", "pyproject.toml": "[project]\ndependencies = []"}, "uv.lock"),
        ({"pyproject.toml": "[project]\ndependencies = []"}, "pyproject.toml"),
        ({"pyproject.toml": "[tool.ruff]"}, None),
        ({"pyproject.toml": "["}, None),
        ({"environment.yml": "dependencies: []", "pyproject.toml": "[tool.x]"}, "environment.yml"),
        ({"environment.yml": "dependencies: []", "requirements.txt": "six"}, "requirements.txt"),
    ],
)
def test_a_list_of_packages_is_found_in_every_form(
    tmp_path: Path, present: dict[str, str], chosen: str | None
) -> None:
    for name, text in present.items():
        (tmp_path / name).write_text(text)
    spec, _ = drafted(tmp_path, run_py='print(open("data/in.txt").read())')
    assert spec.package.requirements_file == chosen
    assert spec.package.type == ("conda" if chosen == "environment.yml" else "pip")


def test_an_onnx_file_needs_no_script(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    spec, notes = drafted(tmp_path, train_py="import argparse\nargparse.ArgumentParser()\n")
    assert spec.onnx == "net.onnx"
    assert notes == ()
    assert "# train:" in draft_directory(tmp_path).text


def test_a_script_that_predicts_comes_before_its_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    spec, _ = drafted(tmp_path, predict_py="parser.add_argument('--text')\n")
    assert spec.onnx is None


@pytest.mark.parametrize(("example", "names"), [("script-filter", ["input"]), ("flags-text", None)])
def test_the_examples_are_understood(example: str, names: list[str] | None) -> None:
    spec = load_spec(draft_directory(EXAMPLES / example).text)
    written = load_spec((EXAMPLES / example / "vitrine.yaml").read_text())
    assert spec.model is not None
    assert written.model is not None
    assert spec.model.command == written.model.command
    assert spec.model.input is not None
    assert written.model.input is not None
    assert spec.model.input.model_dump() == written.model.input.model_dump()
    wanted = names or [item.name for item in written.effective_inputs()]
    assert [item.name for item in spec.effective_inputs()] == wanted


def test_a_cog_project_is_drafted_as_it_says(tmp_path: Path) -> None:
    text = "build: {python_packages: [numpy]}\npredict: predict.py:Predictor\n"
    (tmp_path / "cog.yaml").write_text(text)
    draft = draft_directory(tmp_path)
    spec = load_spec(draft.text)
    assert (spec.predictor, spec.package.requirements) == ("predict.py:Predictor", ["numpy"])
    assert draft.found == "a Cog project"
    assert "`vitrine push`" in draft.notes[0]


@pytest.mark.parametrize("name", ["cog.yaml", "MLmodel"])
def test_other_tools_projects_that_say_too_little_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x: 1\n")
    with pytest.raises(BadBundle) as raised:
        draft_directory(tmp_path)
    assert name in str(raised.value.faults[0])


def test_a_class_with_predict_is_drafted_as_a_predictor(tmp_path: Path) -> None:
    code = (
        "import numpy\nclass Reader:\n    def setup(self): ...\n    def predict(self, x: str) -> str: ...\n"
    )
    (tmp_path / "predict.py").write_text(code)
    draft = draft_directory(tmp_path)
    assert load_spec(draft.text).predictor == "predict.py:Reader"
    assert draft.found == "predict.py:Reader"


def test_an_empty_directory_is_told_what_to_put_there(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    with pytest.raises(BadBundle, match="no Python script and no ONNX file") as raised:
        draft_directory(tmp_path)
    assert "predict.py" in raised.value.advice


def test_a_file_that_is_there_is_never_replaced_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.py").write_text("print('hello')\n")
    (tmp_path / "vitrine.yaml").write_text("name: mine\n")
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path)])
    assert ended.value.code == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "vitrine.yaml").read_text() == "name: mine\n"
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path), "--force", "--json"])
    assert ended.value.code == 0
    assert load_spec((tmp_path / "vitrine.yaml").read_text()).model is not None
