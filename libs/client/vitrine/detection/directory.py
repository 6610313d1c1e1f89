"""What a directory holds, and the `vitrine.yaml` that follows from it."""

from __future__ import annotations

import ast
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vitrine.detection import yaml_text
from vitrine.detection.arguments import Argument, read_arguments
from vitrine.detection.files import IMAGES, WEIGHTS, files_of, third_party
from vitrine.errors import BadBundle
from vitrine.sources import bad_bundle, model_name
from vitrine_common.errors import Invalid
from vitrine_common.projects import find_project

_PREFERRED = ("predict", "infer", "inference", "generate", "test", "run", "demo", "main", "app")
_NOT_RUN = ("train", "setup", "conftest", "dataset", "data", "utils", "config", "__init__")
_MAX_SCRIPT = 2_000_000
_PACKAGE_LISTS = ("requirements.txt", "uv.lock", "pyproject.toml", "environment.yml", "environment.yaml")
"""In the order in which one is taken; a lock before the project that it is made of."""


@dataclass(frozen=True)
class Draft:
    """A `vitrine.yaml` to be written: its text, what it is based on, what its author should look at."""

    text: str
    found: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Script:
    """A Python file at the top of the directory."""

    name: str
    tree: ast.Module
    arguments: tuple[Argument, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def draft_directory(directory: Path) -> Draft:
    """Return the draft for `directory`. Raises BadBundle, saying what to write, when nothing can be run."""
    names = {path.name for path in directory.iterdir()}
    project = _project(directory)
    if project is not None:
        return project
    scripts = [script for path in sorted(directory.glob("*.py")) if (script := _read(path)) is not None]
    runnable = sorted((one for one in scripts if _may_run(one)), key=_rank)
    weights = sorted(name for name in names if name.endswith(".onnx"))
    base = yaml_text.head(model_name(directory.resolve().name))
    tail = yaml_text.training("train.py" in names, bool(weights) or not runnable)
    if weights and not any(one.arguments and _is_preferred(one) for one in runnable):
        several = f"There are several ONNX files; {weights[0]} is run."
        return Draft(
            base + yaml_text.onnx(weights[0]) + tail, weights[0], (several,) if len(weights) > 1 else ()
        )
    predictor = next((found for one in scripts if (found := predictor_of(one.tree))), None)
    if predictor is not None and not any(one.arguments and _is_preferred(one) for one in runnable):
        script = next(one for one in scripts if predictor_of(one.tree) == predictor)
        package, missing = _packages(script, names, directory)
        body = yaml_text.predictor(f"{script.name}:{predictor}")
        return Draft(base + body + package + tail, f"{script.name}:{predictor}", missing)
    if not runnable:
        advice = "Put a script (predict.py) or an exported model.onnx there, then run `vitrine init` again."
        raise BadBundle(f"{directory} has no Python script and no ONNX file at its top", advice=advice)
    script = runnable[0]
    body, notes = _script_draft(script)
    package, missing = _packages(script, names, directory)
    return Draft(base + body + package + tail, script.name, (*notes, *missing))


def _project(directory: Path) -> Draft | None:
    """Return the draft for a project of another tool, which says by itself what runs."""
    try:
        found = find_project(directory)
    except Invalid as error:
        raise bad_bundle(error.problems) from error
    if found is None:
        return None
    spec = found.spec
    head = yaml_text.head(spec.name)
    note = f"{found.file} is enough: without a vitrine.yaml, `vitrine push` takes what it says."
    body = yaml_text.project({key: value for key, value in spec.plain().items() if key != "name"})
    return Draft(head + body, found.what, (note, *found.notes))


def predictor_of(tree: ast.Module) -> str | None:
    """Return the class of a file that looks like a predictor: one with `predict`, or `run` beside `setup`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = {
                item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            takes_part = methods & {"setup"} or bases & {"BasePredictor", "BaseRunner"}
            if "predict" in methods and (takes_part or node.name == "Predictor"):
                return node.name
            if "run" in methods and takes_part:
                return node.name
    return None


def _script_draft(script: Script) -> tuple[str, tuple[str, ...]]:
    if script.arguments:
        return _flags_draft(script)
    source = next((path for path in script.reads if _is_input(path)), None)
    target = script.writes[0] if script.writes else None
    notes = []
    if source is None:
        notes.append(f"{script.name} has no flags and no file that it obviously reads: check `input`.")
    if target is None:
        notes.append("The output is what the script prints: check `output`.")
    return yaml_text.download(script.name, source, target), tuple(notes)


def _flags_draft(script: Script) -> tuple[str, tuple[str, ...]]:
    taken = [one for one in script.arguments if one.kind not in {"output", "switch", "positional"}]
    left = [one for one in script.arguments if one.kind in {"switch", "positional"}]
    notes = [f"{one.flag} {_why_left(one)}" for one in left]
    output = next((one for one in script.arguments if one.kind == "output"), None)
    command = f"python {script.name}"
    target = script.writes[0] if script.writes else None
    if output is not None:
        target = output.default if isinstance(output.default, str) and output.default else "result.png"
        if not output.default:
            command += f" {output.flag} {target}"
            notes.append(f"{output.flag} is set to {target}: check the name's ending.")
    return yaml_text.flags(command, taken, target, [one.flag for one in left]), tuple(notes)


def _why_left(argument: Argument) -> str:
    if argument.kind == "positional":
        return f"has no flag, and inputs are given as flags: make it --{argument.name}."
    return "takes no single value: it is left out; add it to `command` where it is wanted."


def _packages(script: Script, names: set[str], directory: Path) -> tuple[str, tuple[str, ...]]:
    if listed := next((name for name in _PACKAGE_LISTS if _lists(directory, name)), None):
        return yaml_text.package(listed), ()
    local = frozenset(PurePosixPath(name).stem for name in names)
    needed = third_party(script.tree, local, frozenset(sys.stdlib_module_names))
    if not needed:
        return "", ()
    note = f"{script.name} imports {', '.join(needed)}, and there is no requirements.txt: list them in one."
    return yaml_text.package(None), (note,)


def _lists(directory: Path, name: str) -> bool:
    """Tell whether a file is there and lists packages: a pyproject.toml may be for tools alone."""
    path = directory / name
    if not path.is_file() or name != "pyproject.toml":
        return path.is_file()
    try:
        return "dependencies" in tomllib.loads(path.read_text()).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        return False


def _is_input(path: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in IMAGES or suffix not in WEIGHTS | {".json", ".yaml", ".yml", ".toml", ".txt"}


def _read(path: Path) -> Script | None:
    """Return a script, or None when it cannot be read as Python 3."""
    if path.stat().st_size > _MAX_SCRIPT:
        return None
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError, RecursionError, OSError):
        return None
    reads, writes = files_of(tree)
    return Script(path.name, tree, tuple(read_arguments(tree)), tuple(reads), tuple(writes))


def _may_run(script: Script) -> bool:
    stem = PurePosixPath(script.name).stem.lower()
    if any(stem == word or stem.startswith(word + "_") for word in _NOT_RUN):
        return False
    return bool(script.arguments) or _has_main(script.tree) or bool(script.reads or script.writes)


def _has_main(tree: ast.Module) -> bool:
    """Tell whether a file does something when it is run: a main block, or calls at its top."""
    return any(
        isinstance(node, ast.If) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        for node in tree.body
    )


def _is_preferred(script: Script) -> bool:
    return script.name.lower().startswith(_PREFERRED)


def _rank(script: Script) -> tuple[int, int, str]:
    stem = PurePosixPath(script.name).stem.lower()
    place = next((index for index, word in enumerate(_PREFERRED) if stem.startswith(word)), len(_PREFERRED))
    return (0 if script.arguments or (script.reads and script.writes) else 1, place, stem)
