"""A run as code: the same input by curl, in Python and on the command line, files by their names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONG = 400
"""Longer texts are read from a file, which stands in the run's archive under the same name."""


@dataclass(frozen=True)
class Target:
    """What is run, and where."""

    base_url: str
    """Where the instance answers, without a slash at its end."""
    link_token: str | None = None
    reference: str = ""
    """`owner/model@number`, for accounts."""
    has_passcode: bool = False
    """Whether a door stands before the link."""


@dataclass(frozen=True)
class Given:
    """One input: a value as text, or the name of a file."""

    name: str
    text: str
    file: str = ""
    is_content: bool = False
    """Whether the file holds the value itself, because it is long."""
    value: Any = None


def givens(inputs: Mapping[str, Any], files: Mapping[str, str]) -> list[Given]:
    """Return the inputs of a run.

    Args:
        inputs: the stored values by name.
        files: names of those that are files, as the reader may see them.
    """
    return [_given(name, value, files.get(name)) for name, value in inputs.items()]


def _given(name: str, value: Any, filename: str | None) -> Given:
    if filename is not None:
        return Given(name, "", file=filename)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > LONG or "\0" in text:
        return Given(name, text, file=value_name(name, value), is_content=True, value=value)
    return Given(name, text, value=value)


def value_name(name: str, value: Any) -> str:
    """Return what the file of a long value is called."""
    return f"{name}.txt" if isinstance(value, str) else f"{name}.json"


def curl(target: Target, given: list[Given]) -> str:
    """Return a call of curl that waits up to a minute for the result."""
    lines = ["curl -sS -H 'Prefer: wait=60'"]
    if target.link_token is None:
        lines.append('-H "Authorization: Bearer $VITRINE_TOKEN"')
    elif target.has_passcode:
        lines.append('-H "X-Vitrine-Pass: $PASS"')
    lines += [_curl_part(one) for one in given]
    if not given:
        lines.append("-X POST")
    lines.append(shlex.quote(_runs_url(target)))
    return " \\\n  ".join(lines)


def _curl_part(one: Given) -> str:
    if not one.file:
        return f"--form-string {shlex.quote(f'input.{one.name}={one.text}')}"
    name = one.file
    if set(name) & set(';,"\\'):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    mark = "<" if one.is_content else "@"
    return f"-F {shlex.quote(f'input.{one.name}={mark}{name}')}"


def _runs_url(target: Target) -> str:
    if target.link_token is not None:
        return f"{target.base_url}/s/{target.link_token}/v1/runs"
    return f"{target.base_url}/v1/models/{target.reference}/runs"


def command_line(target: Target, given: list[Given]) -> str:
    """Return a call of `vitrine run`."""
    what = f"{target.base_url}/s/{target.link_token}" if target.link_token else target.reference
    words = [f"vitrine run {shlex.quote(what)}"]
    if target.has_passcode:
        words.append('--passcode "$PASSCODE"')
    for one in given:
        value = f"@{one.file}" if one.file else ("@" if one.text.startswith("@") else "") + one.text
        words.append(f"-i {shlex.quote(f'{one.name}={value}')}")
    return " \\\n  ".join(words)


def python(target: Target, given: list[Given]) -> str:
    """Return a program with Vitrine's client."""
    reads = any(one.file for one in given)
    loads = any(one.is_content and not isinstance(one.value, str) for one in given)
    lines = (["import json"] if loads else []) + (["from pathlib import Path", ""] if reads else [])
    lines += ["from vitrine import Client", "", "inputs = {"]
    lines += [f"    {one.name!r}: {_python_value(one)}," for one in given]
    lines += ["}", "with Client() as client:"]
    if target.link_token is not None:
        lines.append(f"    shared = client.shared({f'{target.base_url}/s/{target.link_token}'!r})")
        if target.has_passcode:
            lines.append('    shared.unlock("the passcode")')
        lines += ["    run = shared.run(inputs, wait=60)", "    run = shared.runs.wait(run.id)"]
    else:
        lines.append(f"    run = client.wait(client.submit({target.reference!r}, inputs))")
    lines += ["for output in run.outputs:", "    print(output.name, output.value)"]
    return "\n".join(lines)


def _python_value(one: Given) -> str:
    if not one.file:
        return repr(one.value)
    path = f"Path({one.file!r})"
    if not one.is_content:
        return path
    return f"{path}.read_text()" if isinstance(one.value, str) else f"json.loads({path}.read_text())"
