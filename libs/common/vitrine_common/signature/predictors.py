"""The inputs and outputs of a predictor, from the parameters and the return hint of its method."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from vitrine_common.signature.hints import Hint, NoHint, read_hint
from vitrine_common.signature.modules import UNKNOWN, Definition, Module, ReadText
from vitrine_common.spec.errors import SpecError, SpecProblem
from vitrine_common.spec.inputs import Input
from vitrine_common.spec.outputs import Output

METHODS = ("predict", "run")
MAX_TEXT = 100_000
_WORDS = {
    "image": ("image", "img", "photo", "picture", "mask", "drawing"),
    "audio": ("audio", "sound", "speech", "voice", "song", "music", "recording"),
    "video": ("video", "movie", "clip"),
}
_ACCEPT = {
    "audio": ["audio/*", ".wav", ".mp3", ".flac", ".ogg", ".m4a"],
    "video": ["video/*", ".mp4", ".webm", ".mov", ".mkv"],
    "table": [".csv", ".tsv", "text/csv", "text/tab-separated-values"],
}
_LONG_TEXTS = ("prompt", "text", "document", "article", "code", "sequence", "messages")
_INPUT_CALLS = {"cog.Input", "pydantic.Field"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Interface:
    """What a predictor takes and gives, as `inputs` and `outputs` of a spec."""

    inputs: list[Input]
    outputs: list[Output] | None
    """None where the return value has no hint: then `outputs` of the spec must say it."""
    parameters: list[str]
    takes_any: bool
    """Whether other names are taken, too (`**values`)."""
    file: str
    line: int


def read_interface(
    target: str, read: ReadText, *, in_batches: bool = False, known: frozenset[str] = frozenset()
) -> Interface:
    """Return the interface of `path.py:Name`, whose text and imports `read` gives.

    Args:
        target: class with `predict` (or `run`), or function.
        read: returns the text of a file of the bundle.
        in_batches: whether parameters and result are lists of what one run takes and gives.
        known: inputs that the spec says itself, whose hints need not be understood.

    Raises SpecError naming file and line of what cannot be understood, and what to write.
    """
    path, _, name = target.rpartition(":")
    module = Module(path, read)
    place, function, is_method = _function(module, name)
    reader = _Reader(place, function, is_method=is_method, in_batches=in_batches, known=known)
    return Interface(
        inputs=reader.inputs(),
        outputs=reader.outputs(),
        parameters=[argument.arg for argument, _ in reader.parameters()],
        takes_any=function.args.kwarg is not None,
        file=place.path,
        line=function.lineno,
    )


def _function(module: Module, name: str) -> tuple[Module, Function, bool]:
    """Return the method or function that is called, and whether it is a method."""
    found = module.definition(ast.Name(id=name))
    if found is None:
        names = [key for key, value in module.definitions.items() if not isinstance(value, ast.expr)]
        has = f"it has {', '.join(names[:20])}" if names else "it has no class or function"
        raise SpecError([SpecProblem("predictor", f"has no `{name}`; {has}", module.path, 1)])
    place, definition = found
    if isinstance(definition, Function):
        return place, definition, False
    if isinstance(definition, ast.ClassDef):
        for method in METHODS:
            inherited = _method(place, definition, method)
            if inherited is not None:
                return *inherited, True
    message = f"`{name}` has no method `predict`; write `def predict(self, …) -> …:`"
    raise SpecError([SpecProblem("predictor", message, place.path, getattr(definition, "lineno", 1))])


def _method(module: Module, node: ast.ClassDef, name: str, depth: int = 0) -> tuple[Module, Function] | None:
    for item in node.body:
        if isinstance(item, Function) and item.name == name:
            return module, item
    for base in node.bases if depth < 8 else ():
        found: tuple[Module, Definition] | None = module.definition(base)
        if found and isinstance(found[1], ast.ClassDef):
            inherited = _method(found[0], found[1], name, depth + 1)
            if inherited:
                return inherited
    return None


class _Reader:
    """Reads one function."""

    def __init__(
        self, module: Module, function: Function, *, is_method: bool, in_batches: bool, known: frozenset[str]
    ) -> None:
        self.module = module
        self.function = function
        self.in_batches = in_batches
        self.known = known
        static = any(module.dotted(item) == "staticmethod" for item in function.decorator_list)
        self.skipped = 1 if is_method and not static else 0

    def parameters(self) -> list[tuple[ast.arg, ast.expr | None]]:
        """Return the parameters and their defaults, in order."""
        taken = self.function.args
        positional = [*taken.posonlyargs, *taken.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(taken.defaults))
        defaults += taken.defaults
        pairs = list(zip(positional, defaults, strict=True))[self.skipped :]
        return pairs + list(zip(taken.kwonlyargs, taken.kw_defaults, strict=True))

    def inputs(self) -> list[Input]:
        """Return the inputs in the order of the parameters."""
        found = []
        for argument, default in self.parameters():
            try:
                item = self._input(argument, default)
            except SpecError:
                if argument.arg not in self.known:
                    raise
                continue
            if item is not None:
                found.append(item)
        return found

    def _input(self, argument: ast.arg, default: ast.expr | None) -> Input | None:
        name = argument.arg
        if argument.annotation is None:
            self._refuse(argument, f"parameter `{name}` has no type hint; write for example `{name}: str`")
        hint = self._hint(argument.annotation, f"parameter `{name}`", argument)
        facts = self._facts(argument.annotation, default)
        if hint.kind == "secret":
            if "default" in facts or hint.optional:
                return None
            self._refuse(argument, f"parameter `{name}` is a Secret, and runs keep none; give it a default")
        if hint.kind == "file" and hint.is_list:
            self._refuse(argument, f"parameter `{name}` takes several files; take one, as `{name}: Path`")
        values = {"name": name, **_input_type(name, hint, facts), **_common(hint, facts)}
        try:
            return TypeAdapter[Input](Input).validate_python(values)
        except ValidationError as error:
            text = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            self._refuse(argument, f"parameter `{name}`: {text}")

    def _facts(self, annotation: ast.expr, default: ast.expr | None) -> dict[str, Any]:
        """Return what `Input(…)` says, and `default` where there is one; `UNKNOWN` is left out."""
        facts: dict[str, Any] = {}
        calls = [default] if default is not None else []
        if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
            calls += annotation.slice.elts[1:]
        for call in calls:
            if isinstance(call, ast.Call) and (self.module.dotted(call.func) or "") in _INPUT_CALLS:
                if call.args:
                    facts["default"] = self.module.value(call.args[0])
                facts |= {item.arg: self.module.value(item.value) for item in call.keywords if item.arg}
            elif call is default:
                facts["default"] = self.module.value(call)
        if facts.get("default") is ...:
            del facts["default"]
        one = facts.get("default")
        if self.in_batches and isinstance(one, list | tuple) and len(one) == 1:
            facts["default"] = one[0]
        return facts

    def outputs(self) -> list[Output] | None:
        """Return the outputs that the return hint promises, or None without a hint."""
        annotation = self.function.returns
        if annotation is None:
            return None
        hint = self._hint(annotation, "the result", self.function)
        if hint.kind == "none":
            return []
        if hint.fields and not hint.is_list:
            return [self._output(name, one, streams=hint.is_stream) for name, one in hint.fields]
        return [self._output("output", hint, streams=hint.is_stream)]

    def _output(self, name: str, hint: Hint, *, streams: bool) -> Output:
        kinds = {"integer": "number", "choice": "text", "boolean": "json", "table": "file", "secret": "text"}
        kind = kinds.get(hint.kind, hint.kind)
        # Pieces of text are one text, except in Cog's projects, whose `Iterator[str]` gives a list.
        is_text = kind == "text" and (hint.is_joined or not self.module.uses_cog)
        if (hint.is_list or (streams and not is_text)) and kind not in {"file", "image"}:
            kind = "json"
        safe = name if name[0].isalpha() else f"output_{name.lstrip('_')}"
        return Output.model_validate({"name": safe, "type": kind, "required": not (hint.optional or streams)})

    def _hint(self, node: ast.expr, what: str, place: ast.arg | Function) -> Hint:
        try:
            hint = read_hint(node, self.module)
        except NoHint as error:
            where = "inputs" if isinstance(place, ast.arg) else "outputs"
            self._refuse(
                place,
                f"{what} has the type `{error}`, which no form can be made of; write str, int, float, bool, "
                f"Literal, Path, PIL.Image.Image, dict or list, or list it under `{where}:` of vitrine.yaml",
            )
        if not self.in_batches:
            return hint
        if not hint.is_list and hint.kind != "json":
            self._refuse(place, f"{what} must be a list, as `scaling.batching` is set; write `list[…]`")
        return replace(hint, is_list=False)

    def _refuse(self, place: ast.arg | Function, message: str) -> NoReturn:
        raise SpecError([SpecProblem("predictor", message, self.module.path, place.lineno)])


def _common(hint: Hint, facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    description = facts.get("description")
    if isinstance(description, str):
        found["description"] = ("Deprecated. " if facts.get("deprecated") is True else "") + description[
            :1900
        ]
    default = facts.get("default", UNKNOWN)
    if "default" in facts or hint.optional:
        found["required"] = False
    if default is not UNKNOWN and default is not None and hint.kind in _WITH_DEFAULT and not hint.is_list:
        found["default"] = default
    if hint.is_list and isinstance(default, list | tuple | dict):
        found["default"] = list(default) if isinstance(default, tuple) else default
    return found


_WITH_DEFAULT = {"text", "integer", "number", "boolean", "choice", "json"}


def _input_type(name: str, hint: Hint, facts: dict[str, Any]) -> dict[str, Any]:
    choices = facts.get("choices")
    if isinstance(choices, list | tuple) and choices and not hint.is_list:
        return {"type": "choice", "choices": list(choices)}
    if hint.is_list or hint.fields:
        return {"type": "json"}
    if hint.kind == "choice":
        return {"type": "choice", "choices": list(hint.choices)}
    if hint.kind in {"integer", "number"}:
        bounds = (("min", "ge"), ("max", "le"))
        limits = {key: facts[fact] for key, fact in bounds if _is_number(facts.get(fact))}
        return {"type": "number", "integer": hint.kind == "integer", **limits}
    if hint.kind == "text":
        lengths = {key: facts[key] for key in ("min_length", "max_length") if isinstance(facts.get(key), int)}
        is_long = any(word in name.lower() for word in _LONG_TEXTS)
        return {"type": "text", "multiline": is_long, "max_length": MAX_TEXT, **lengths}
    if hint.kind == "file":
        return _file_type(name, facts.get("description"))
    if hint.kind == "table":
        return {"type": "file", "accept": _ACCEPT["table"]}
    return {"type": "boolean" if hint.kind == "boolean" else "image" if hint.kind == "image" else "json"}


def _file_type(name: str, description: object) -> dict[str, Any]:
    """Say what a file is by the words of its name, else of its description."""
    for text in (name, description if isinstance(description, str) else ""):
        words = set(text.lower().replace("_", " ").replace(",", " ").replace(".", " ").split())
        for kind, about in _WORDS.items():
            if words & set(about):
                return {"type": "image"} if kind == "image" else {"type": "file", "accept": _ACCEPT[kind]}
    return {"type": "file"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
