import pytest

from spec_files import FLAGS, LITERATURE, short
from vitrine_common.spec import DEFAULT_LIMITS, Limits, coerce_inputs, invocation, load_spec, parse_output
from vitrine_common.spec.interface import output_pattern
from vitrine_common.spec.quantities import parse_duration, parse_size

FILE = {"digest": "sha256:" + "0" * 64, "size": 10, "media_type": "image/png", "filename": "a.png"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2Gi", 2 << 30),
        ("512Mi", 512 << 20),
        ("1.5G", 1_500_000_000),
        ("10M", 10_000_000),
        ("7", 7),
        (7, 7),
        ("1KiB", 1024),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "2X", "1e9", "9" * 30, True, None, [1]], ids=short)
def test_sizes_that_are_none(text: object) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h30m", 5400), ("250ms", 0.25), (5, 5), ("2 d", 172800)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1s", "0s", "1h x", True, None])
def test_durations_that_are_none(text: object) -> None:
    with pytest.raises(ValueError, match="10m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("path", "suffix", "pattern"),
    [
        ("./results/images/", "png", "results/images/**/*.png"),
        ("results", None, "results/**/*"),
        ("./out.png", "png", "out.png"),
        ("out/*.png", None, "out/*.png"),
        ("./", "txt", "**/*.txt"),
    ],
)
def test_output_patterns(path: str, suffix: str | None, pattern: str) -> None:
    assert output_pattern(path, suffix) == pattern


def test_limits_come_from_the_file_then_the_operator_and_never_pass_the_ceiling() -> None:
    spec = load_spec("name: m\nonnx: m.onnx\nresources: {memory: 4Gi, timeout: 1m, cpu: 8}")
    assert spec.limits().memory == 4 << 30
    assert spec.limits().processes == DEFAULT_LIMITS.processes
    ceiling = Limits(cpu=2, memory=1 << 30, gpu=0, timeout=3600, disk=1 << 40, processes=10)
    cut = spec.limits(ceiling=ceiling)
    assert (cut.cpu, cut.memory, cut.timeout, cut.processes) == (2, 1 << 30, 60, 10)


def test_an_onnx_file_alone_needs_no_requirements_and_takes_all_tensors() -> None:
    spec = load_spec("name: m\nonnx: m.onnx")
    assert spec.environment_request().preset == "onnx"
    form = spec.to_harness()
    assert [(item["name"], item["type"], item["tensor"]["name"]) for item in form["inputs"]] == [
        ("tensors", "json", "*")
    ]
    assert [(item["name"], item["source"], item["tensor"]["name"]) for item in form["outputs"]] == [
        ("tensors", "tensor", "*")
    ]


def test_training_has_packages_of_its_own_or_those_of_the_model() -> None:
    own = load_spec("name: m\nonnx: m.onnx\ntrain: {command: a, requirements_file: t.txt}")
    assert own.train_environment_request().requirements_file == "t.txt"
    shared = load_spec("name: m\nonnx: m.onnx\npackage: {requirements_file: r.txt}\ntrain: {command: a}")
    assert shared.train_environment_request().requirements_file == "r.txt"


def test_values_are_read_by_type_and_defaults_filled_in() -> None:
    spec = load_spec(FLAGS)
    given = {"prompt": "hi", "length": "7", "style": "2", "options": '{"a": [1]}', "picture": FILE}
    values, problems = coerce_inputs(spec, given)
    assert problems == []
    assert values == {"prompt": "hi", "length": 7, "style": 2, "options": {"a": [1]}, "picture": FILE}
    values, problems = coerce_inputs(spec, {"prompt": "hi", "picture": "", "options": None})
    assert (values, problems) == ({"prompt": "hi", "length": 5}, [])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("prompt", None, "is missing; give some text"),
        ("prompt", "", "is missing"),
        ("prompt", "x" * 21, "at most 20"),
        ("prompt", 5, "must be text"),
        ("prompt", "a\0b", "NUL"),
        ("prompt", "\ud800", "half of a pair"),
        ("length", "many", "whole number"),
        ("length", "1.5", "not a whole number"),
        ("length", 11, "larger than 10"),
        ("length", "0", "smaller than 1"),
        ("length", "nan", "must be"),
        ("length", float("inf"), "must be"),
        ("length", 10**5000, "huge number"),
        ("length", "9" * 5000, "must be"),
        ("length", True, "must be"),
        ("length", "1_0", "must be"),
        ("length", [1], "must be"),
        ("style", "loud", "give one of calm, 2"),
        ("style", True, "cannot be"),
        ("options", "{", "is not JSON"),
        ("options", "[NaN]", "NaN"),
        ("options", {"a": float("nan")}, "finite"),
        ("options", "[" * 100_000, "nested"),
        ("options", "[" * 80 + "]" * 80, "nested"),
        ("options", '"' + "x" * 1_000_000 + '"', "larger than"),
        ("options", {1, 2}, "not a JSON value"),
        ("picture", "../../etc/passwd", "uploaded"),
        ("picture", {**FILE, "digest": "md5:1"}, "uploaded"),
        ("picture", {**FILE, "size": 0}, "empty file (0 bytes)"),
        ("picture", {**FILE, "size": 1001}, "at most 1000"),
        ("picture", {**FILE, "media_type": "text/html"}, "text/html"),
        ("picture", {**FILE, "path": "/etc"}, "uploaded"),
        ("table", FILE, ".csv"),
        ("promt", "x", "did you mean `prompt`"),
        ("zzz", "x", "it takes prompt"),
    ],
    ids=short,
)
def test_unusable_values_are_named(name: str, value: object, words: str) -> None:
    _, problems = coerce_inputs(load_spec(FLAGS), {"prompt": "hi", name: value})
    assert [problem.field for problem in problems] == [f"inputs.{name}"]
    assert problems[0].message.startswith(f"`{name}` ")
    assert words in problems[0].message


def test_accepted_media_types_and_suffixes() -> None:
    spec = load_spec(FLAGS)
    for change in ({"media_type": "text/plain; charset=utf-8"}, {"filename": "B.CSV"}):
        assert coerce_inputs(spec, {"prompt": "x", "table": {**FILE, **change}})[1] == []


def test_flags_carry_the_values_and_none_can_become_a_flag_of_its_own() -> None:
    spec = load_spec(FLAGS)
    values, _ = coerce_inputs(spec, {"prompt": "--help; rm -rf /", "picture": FILE})
    run = invocation(spec, values)
    assert run.argv == (
        "python",
        "generate.py",
        "--prompt=--help; rm -rf /",
        "--length",
        "5",
        "--picture",
        "inputs/picture.png",
    )
    assert run.env == {
        "VITRINE_INPUT_PROMPT": "--help; rm -rf /",
        "VITRINE_INPUT_LENGTH": "5",
        "VITRINE_INPUT_PICTURE": "inputs/picture.png",
    }
    assert [(file.name, file.destination) for file in run.files] == [("picture", "inputs/picture.png")]


def test_a_download_lands_where_the_script_reads_it() -> None:
    spec = load_spec(LITERATURE)
    values, problems = coerce_inputs(spec, {"input": {**FILE, "filename": "../../../etc/passwd"}})
    run = invocation(spec, values)
    assert problems == []
    assert run.argv == ("bash", "activateEnvAtoB.sh")
    assert [file.destination for file in run.files] == ["datasets/testA/image.jpg"]


def test_an_uploaded_name_never_becomes_a_path() -> None:
    spec = load_spec(FLAGS)
    hostile = {**FILE, "media_type": "application/octet-stream", "filename": "a.csv/../../x.c$v"}
    values, _ = coerce_inputs(spec, {"prompt": "x", "table": {**hostile, "filename": "x/../a.csv"}})
    assert [file.destination for file in invocation(spec, values).files] == ["inputs/table.csv"]
    values["table"] = hostile
    assert [file.destination for file in invocation(spec, values).files] == ["inputs/table"]


def test_values_with_a_destination_are_written_there() -> None:
    spec = load_spec(
        "name: m\nmodel: {command: a}\ninputs:\n"
        "  options: {type: json, destination: conf/options.json}\n  name: {type: text, flag: -n}\n"
    )
    run = invocation(spec, {"options": {"ä": 1}, "name": "x"})
    assert [(file.destination, file.content) for file in run.files] == [
        ("conf/options.json", '{"ä": 1}'.encode())
    ]
    assert run.argv == ("a", "-n", "x")


def test_printed_outputs_are_read_by_type() -> None:
    assert parse_output("text", "a\n") == "a\n"
    assert parse_output("number", "epoch 1\n 0.5 \n") == 0.5
    assert parse_output("label", " cat\n") == {"label": "cat", "score": None, "index": None}
    assert parse_output("json", "[1]") == [1]
    assert parse_output("labels", '{"a": 0.1, "b": 0.9}') == [
        {"label": "b", "score": 0.9, "index": None},
        {"label": "a", "score": 0.1, "index": None},
    ]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("number", "x"), ("number", ""), ("number", "inf"), ("json", "{"), ("json", "[NaN]"),
     ("json", "[" * 9999), ("json", "[" * 80 + "]" * 80), ("labels", "[1]"),
     ("labels", '{"a": true}'), ("labels", '{"a": "b"}'),
     ("labels", '{"a": 1' + "0" * 400 + "}")],
    ids=short,
)  # fmt: skip
def test_printed_outputs_that_are_none(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"must|JSON"):
        parse_output(kind, text)  # type: ignore[arg-type]
