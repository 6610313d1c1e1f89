"""The author's predictor: a class with `setup` and `predict`, or a function, called once for each run.

Also classes of Cog, whose methods may be `run`. A module `cog` of our own stands in where the environment
has none.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable
from typing import Any

from vitrine_harness import returned
from vitrine_harness.arguments import Parameter, argument, column
from vitrine_harness.executing import NoModelError, explain, told
from vitrine_harness.jobs import Failed, Job
from vitrine_harness.workspace import WORK

COMPATIBILITY = os.path.join(os.path.dirname(__file__), "compat")
METHODS = ("predict", "run")


def load(request: dict[str, Any]) -> Predictor:
    """Import the author's file and call `setup`; raises `NoModelError`."""
    path, _, name = request["target"].rpartition(":")
    module = _imported(path)
    found = getattr(module, name, None)
    if found is None:
        known = ", ".join(sorted(key for key, value in vars(module).items() if callable(value)))
        raise NoModelError(f"{path} has no `{name}`; it has {known or 'nothing that can be called'}")
    loop = asyncio.new_event_loop()
    call = _called(found, f"{path}:{name}", loop)
    is_async = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
    return Predictor(call, request, loop if is_async else None)


def _imported(path: str) -> Any:
    file = os.path.join(WORK, path)
    if not os.path.isfile(file):
        raise NoModelError(f"the bundle has no file {path}")
    sys.path[:0] = list(dict.fromkeys((WORK, os.path.dirname(file))))
    if importlib.util.find_spec("cog") is None:
        sys.path.append(COMPATIBILITY)
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NoModelError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _no_model(f"{path} cannot be imported", error) from error
    return module


def _called(found: Any, name: str, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Return what is called for a run; `setup` has been called by then."""
    if not inspect.isclass(found):
        if not callable(found):
            raise NoModelError(f"{name} is neither a class nor a function")
        return typing.cast("Callable[..., Any]", found)
    try:
        instance = found()
        _set_up(instance, loop)
    except BaseException as error:
        raise _no_model(f"setup of {name} failed", error) from error
    for method in METHODS:
        if callable(getattr(instance, method, None)):
            return typing.cast("Callable[..., Any]", getattr(instance, method))
    raise NoModelError(f"{name} has no method `predict`")


def _set_up(instance: Any, loop: asyncio.AbstractEventLoop) -> None:
    method = getattr(instance, "setup", None)
    if method is None:
        return
    # Cog hands the weights of a fine-tuning to `setup(self, weights)`; there are none here.
    takes_weights = "weights" in inspect.signature(method).parameters
    result = method(weights=None) if takes_weights else method()
    if inspect.isawaitable(result):
        loop.run_until_complete(typing.cast("Any", result))


def _no_model(what: str, error: BaseException) -> NoModelError:
    text = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, ModuleNotFoundError) and error.name:
        text += f"; add the package that has `{error.name}` to the requirements"
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"
    return NoModelError(f"{what}: {text}"[:2000], told(error))


class Predictor:
    """A callable with the declared inputs and outputs around it. `loop` is there for asynchronous ones."""

    def __init__(
        self, call: Callable[..., Any], request: dict[str, Any], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.loop = loop
        self._call = call
        self._outputs: list[dict[str, Any]] = request["outputs"]
        self._in_batches = request["batch"] is not None
        self._parameters = _parameters(call)
        if self._in_batches and (loop is not None or inspect.isgeneratorfunction(call)):
            raise NoModelError("`scaling.batching` needs a plain method that takes and returns lists")

    def serve(self, job: Job) -> None:
        """Do one run."""
        arguments = self._arguments(job)
        job.send({"is": "started", "work": "none"})
        result = self._call(**arguments)
        if inspect.isgenerator(result) or returned.is_stream(result):
            sender = returned.Stream(job, self._outputs)
            for item in result:
                job.check()
                sender.send(item)
            job.send({"is": "exited", "code": 0})
            sender.close()
            return
        job.send({"is": "exited", "code": 0})
        returned.send(job, self._outputs, result)

    async def serve_task(self, job: Job) -> None:
        """Do one run of an asynchronous predictor."""
        arguments = self._arguments(job)
        job.send({"is": "started", "work": "none"})
        result = self._call(**arguments)
        if hasattr(result, "__aiter__"):
            sender = returned.Stream(job, self._outputs)
            async for item in result:
                sender.send(item)
            job.send({"is": "exited", "code": 0})
            sender.close()
            return
        found = await result
        job.send({"is": "exited", "code": 0})
        returned.send(job, self._outputs, found)

    def serve_batch(self, batch: list[Job]) -> None:
        """Do several runs by one call, whose arguments are lists; what is wrong with one ends only that."""
        ready = []
        for job in batch:
            try:
                ready.append((job, self._arguments(job)))
            except BaseException as error:
                job.end(*explain(job, error))
            else:
                job.send({"is": "started", "work": "none"})
        if not ready:
            return
        lists = {name: column(name, [given for _, given in ready]) for name in self._parameters}
        results = self._call(**{name: values for name, values in lists.items() if values is not None})
        if not hasattr(results, "__len__") or len(results) != len(ready):
            got = f"{len(results)} values" if hasattr(results, "__len__") else type(results).__name__
            raise Failed("user_error", f"predict was given {len(ready)} inputs and returned {got}")
        for (job, _), result in zip(ready, results, strict=True):
            job.send({"is": "exited", "code": 0})
            try:
                returned.send(job, self._outputs, result)
            except BaseException as error:
                job.end(*explain(job, error))

    def _arguments(self, job: Job) -> dict[str, Any]:
        given = {**job.values, **job.files}
        known = self._parameters
        unknown = [name for name in given if name not in known]
        if unknown:
            raise Failed("input_invalid", f"predict takes no `{unknown[0]}`; it takes {', '.join(known)}")
        found = {}
        for name, parameter in known.items():
            made = argument(parameter, given, in_batch=self._in_batches)
            if made is not None or name in given:
                found[name] = made
        return found


def _parameters(call: Callable[..., Any]) -> dict[str, Parameter]:
    try:
        hints = typing.get_type_hints(call)
    except Exception:
        # Names that exist for type checkers alone: what is given is passed on as it is.
        hints = {}
    found = {}
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}:
            continue
        found[name] = Parameter(name, hints.get(name, Any), parameter.default)
    return found
