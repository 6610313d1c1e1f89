import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from spec_files import FLAGS, LITERATURE, short
from vitrine_common.errors import Invalid
from vitrine_common.spec import ModelKind, Spec, SpecError, SpecProblem, load_spec
from vitrine_common.spec.reference import EXAMPLES, reference_page
from vitrine_common.spec.schema import json_schema, schema_text

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def problems(text: str) -> list[SpecProblem]:
    with pytest.raises(SpecError) as caught:
        load_spec(text)
    assert isinstance(caught.value, Invalid)
    found = [problem for problem in caught.value.problems if isinstance(problem, SpecProblem)]
    assert len(found) == len(caught.value.problems) > 0
    return found


def only_problem(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, [str(problem) for problem in found]
    return str(found[0])


def test_the_file_of_the_literature_is_taken_as_it_stands() -> None:
    spec = load_spec(LITERATURE)
    assert spec.kind() is ModelKind.SCRIPT
    assert spec.version == "1.1.0"
    form = spec.to_harness()
    assert form["argv"] == ["bash", "activateEnvAtoB.sh"]
    assert form["workdir"] == "."
    assert [(item["name"], item["type"], item["path"]) for item in form["inputs"]] == [
        ("input", "image", "datasets/testA/image.jpg")
    ]
    assert form["outputs"][0]["type"] == "image"
    assert form["outputs"][0]["pattern"] == "results/snow-cycle-gan/test_latest/images/**/*.png"
    request = spec.environment_request()
    assert (request.python, request.package_type, request.requirements_file) == (
        "3.11",
        "pip",
        "requirements.txt",
    )
    assert "conda" in spec.warnings()[0]


def test_the_command_runs_in_the_directory_that_path_names_when_the_bundle_has_it() -> None:
    spec = load_spec(LITERATURE)
    assert (
        spec.to_harness(frozenset({"source-code", "source-code/snow-gan"}))["workdir"]
        == "source-code/snow-gan"
    )


@pytest.mark.parametrize("text", [LITERATURE, FLAGS, *EXAMPLES.values()], ids=short)
def test_plain_form_loads_again_to_the_same_spec(text: str) -> None:
    spec = load_spec(text)
    plain = json.loads(json.dumps(spec.plain()))
    assert Spec.model_validate(plain) == spec
    assert Spec.model_validate(plain).plain() == plain


def test_json_is_taken_with_tabs_too() -> None:
    spec = load_spec(
        '{\n\t"name": "m",\n\t"onnx": "m.onnx",\n\t"description": "a \\u00e4"\n}', "vitrine.json"
    )
    assert (spec.onnx, spec.description) == ("m.onnx", "a ä")


def test_a_version_label_stays_as_it_is_written() -> None:
    assert load_spec("name: m\nonnx: m.onnx\nversion: 1.10").version == "1.10"


def test_problems_name_line_and_field_and_what_to_write() -> None:
    found = problems(
        "name: My Model\nlanguge: x\nonnx: m.onnx\ninputs:\n  - name: x\n    type: text\n    max_lenght: 3\n"
        "resources:\n  memory: lots\n"
    )
    assert [(problem.line, problem.field) for problem in found] == [
        (1, "name"),
        (2, "languge"),
        (7, "inputs[0].max_lenght"),
        (9, "resources.memory"),
    ]
    assert "`name: my-model`" in found[0].message
    assert "did you mean `language`" in found[1].message
    assert "did you mean `max_length`" in found[2].message
    assert str(found[3]).startswith("vitrine.yaml line 9: resources.memory: ")
    assert "`2Gi`" in found[3].message


@pytest.mark.parametrize("key", ["search", "pipeline"])
def test_keys_of_later_versions_are_refused_by_name(key: str) -> None:
    message = only_problem(f"name: m\nonnx: m.onnx\n{key}: x")
    assert f"line 3: {key}" in message
    assert "later version of Vitrine" in message


@pytest.mark.parametrize("kind", ["audio", "video", "table"])
def test_input_types_of_later_versions_are_refused_by_name(kind: str) -> None:
    message = only_problem(f"name: m\nmodel: {{command: a}}\ninputs:\n  x: {kind}")
    assert "later version" in message
    assert "line 4" in message


@pytest.mark.parametrize(
    ("lines", "field", "words"),
    [
        ("onnx: /etc/passwd", "onnx", "absolute"),
        ("onnx: ../m.onnx", "onnx", "leaves the directory"),
        ("onnx: a\\b.onnx", "onnx", "backslash"),
        ('onnx: "a\\0b"', "onnx", "control character"),
        ("onnx: C:/m.onnx", "onnx", "absolute"),
        ("onnx: .", "onnx", "directory itself"),
        ("onnx: 5", "onnx", "must be text"),
        ("onnx: m.onnx\npackage: {requirements_file: a/../../b}", "package.requirements_file", "leaves"),
        ("onnx: m.onnx\npackage: {system: [libgl1-]}", "package.system[0]", "libgl1-"),
        ("onnx: m.onnx\npackage: {requirements_file: r.txt, requirements: [six]}", "package", "keep one"),
        ("onnx: m.onnx\nlanguage: python-3.9", "language", "python-3.11"),
        ("onnx: m.onnx\nlanguage: r", "language", "python-3.11"),
        ("onnx: m.onnx\nresources: {network: true}", "resources.network", "no network"),
        ("onnx: m.onnx\nresources: {cpu: .inf}", "resources.cpu", "finite"),
        ("onnx: m.onnx\nresources: {cpu: -1}", "resources.cpu", "greater than 0"),
        ("onnx: m.onnx\nresources: {gpu: 1.5}", "resources.gpu", "whole number"),
        ("onnx: m.onnx\nresources: {timeout: soon}", "resources.timeout", "`10m`"),
        ("onnx: m.onnx\nresources: {timeout: 99999999999999d}", "resources.timeout", "`10m`"),
        ("onnx: m.onnx\nscaling: {min: 3, max: 2}", "scaling", "larger than"),
        ("onnx: m.onnx\ninputs: {x: {type: file}}", "", "ONNX model cannot take"),
        ("onnx: m.onnx\noutputs: {x: {type: text}}", "", "ONNX model cannot give"),
        ("onnx: m.onnx\noutputs: {x: {type: label, path: a}}", "", "`tensor:`"),
        ("onnx: m.onnx\ninputs: {X: text, x: text}", "inputs", "another name"),
        ("onnx: m.onnx\ninputs: {1: text}", "inputs.1", "input_1"),
        ("onnx: m.onnx\ninputs: {a: {name: b, type: text}}", "inputs", "remove it"),
        ("onnx: m.onnx\ninputs: {a: {typ: text}}", "inputs.a", "no `type`"),
        ("onnx: m.onnx\ninputs: {a: {type: choice}}", "inputs.a.choices", "is missing"),
        ("onnx: m.onnx\noutputs: {a: labls}", "outputs.a", "did you mean `labels`"),
        ("onnx: m.onnx\ntrain: {}", "train.command", "is missing"),
        ("onnx: m.onnx\ninputs: {a b: text}", "inputs.a b", "a_b"),
        ("onnx: m.onnx\ninputs: {x: {type: choice, choices: ['a', 'a']}}", "inputs.x", "twice"),
        ("onnx: m.onnx\ninputs: {x: {type: number, default: 3, max: 2}}", "inputs.x", "larger than 2"),
        ("onnx: m.onnx\ninputs: {x: {type: image, tensor: {mean: [1, 2]}}}", "inputs.x.tensor", "3 channels"),
        ("onnx: m.onnx\nmodel: {command: a}", "", "both `model` and `onnx`"),
        ("model: {command: ''}", "", "what runs"),
        ("model: {command: 'a \"b'}", "model.command", "quotation"),
        ("model: {command: a && b}", "model.command", "bash run.sh"),
        ("model: {command: a, input: {type: download}}", "model.input", "download_destination"),
        ("model: {command: a}\noutputs: {x: image}", "", "where the image is written"),
        ("model: {command: a}\ninputs: {x: {type: text, tensor: y}}", "", "only ONNX"),
        ("model: {command: a, output: {path: /out}}", "model.output.path", "absolute"),
        ("model: text", "model", "mapping"),
        ("", "", "what runs"),
    ],
    ids=short,
)
def test_wrong_values_are_refused_with_the_way_out(lines: str, field: str, words: str) -> None:
    found = problems("name: m\n" + lines)
    assert field in {problem.field for problem in found}, [str(problem) for problem in found]
    assert any(words in str(problem) for problem in found), [str(problem) for problem in found]


def test_booleans_are_no_choices() -> None:
    found = problems("name: m\nmodel: {command: a}\ninputs: {x: {type: choice, choices: [yes, no]}}")
    assert [problem.field for problem in found] == ["inputs.x.choices[0]", "inputs.x.choices[1]"]
    assert "put it in quotes" in found[0].message


def alias_bomb() -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("- 1", "must be a mapping"),
        ("a: b: c", "is not YAML"),
        ("a: 1\na: 2", "`a` twice"),
        ("a: \x00", "is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("? [a]\n: 1", "as a key"),
        ("<<: {a: 1}", "merge key"),
        ("[" * 5000, "nested deeper"),
        ('{"a":' * 5000, "nested deeper"),
        ("a: &a [*a]", "too many values"),
        ("name: " + "9" * 400, "more than 300"),
        ("a: " + "x" * 300_000, "larger than 256 KiB"),
        ("x: !!python/object/apply:os.system [id]", "tag"),
        ("x: !own {a: 1}", "tag"),
        (alias_bomb(), "too many values"),
    ],
    ids=short,
)
def test_hostile_documents_are_refused(text: str, words: str) -> None:
    assert words in only_problem(text)


def test_aliases_may_be_used_with_measure() -> None:
    outputs = "  a: {type: label, tensor: &t {name: p}}\n  b: {type: labels, tensor: *t}"
    text = "name: m\nonnx: m.onnx\noutputs:\n" + outputs
    first, second = load_spec(text).effective_outputs()
    assert first.tensor == second.tensor


def test_published_schema_and_reference_are_up_to_date() -> None:
    assert (REFERENCE / "vitrine.schema.json").read_text() == schema_text()
    assert (REFERENCE / "vitrine-yaml.md").read_text() == reference_page()


@pytest.mark.parametrize("text", [LITERATURE, FLAGS, *EXAMPLES.values()], ids=short)
def test_schema_takes_what_the_platform_takes(text: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "change", [{"nam": 1}, {"inputs": [{"type": "text"}]}, {"resources": {"memory": "x"}}]
)
def test_schema_refuses_what_the_platform_refuses(change: dict[str, object]) -> None:
    document = yaml.safe_load(LITERATURE) | change
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)
    problems(yaml.safe_dump(document))
