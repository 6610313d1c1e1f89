"""Outputs of a run, shown as what they are, or saved."""

from __future__ import annotations

import json
import mimetypes
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrine.cli import formats
from vitrine.cli.console import coloured, console, note, say
from vitrine.errors import ClientError

if TYPE_CHECKING:
    from vitrine.results import Output, Run
    from vitrine.runs import Runs

BAR = 30
_TOP = 10
_UNSAFE = re.compile(r"[^\w.() -]+")
Saved = dict[str, list[Path]]


def show(run: Run, saved: Saved, left: Sequence[Output] | None = None) -> None:
    """Print the outputs, or those that are `left`; one that stands alone has no heading, to be piped."""
    alone = len(run.outputs) == 1
    for output in run.outputs if left is None else left:
        paths = saved.get(output.name, [])
        if output.url is not None:
            _show_file(output, paths)
            continue
        if not alone:
            _heading(output.name)
        say(_text(output))
    if not run.outputs:
        note("The run gave no output.")


def save(place: Runs, run: Run, directory: Path) -> Saved:
    """Write every output below `directory`; existing files of the same name are replaced.

    Raises ClientError when the directory cannot be written.
    """
    saved: Saved = {}
    taken: set[str] = set()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for output in run.outputs:
            target = directory / _free_name(_filename(output), taken)
            if output.url is not None:
                place.save(output, target)
            else:
                target.write_text(_content(output), encoding="utf-8")
            saved.setdefault(output.name, []).append(target)
    except OSError as error:
        raise ClientError(f"The outputs cannot be saved in {directory}: {error.strerror}") from error
    return saved


def label_bars(classes: list[dict[str, Any]]) -> list[str]:
    """Return a line for each class: its name, a bar as long as its score, the score."""
    shown = classes[:_TOP]
    width = max((len(str(one.get("label"))) for one in shown), default=0)
    lines = []
    for one in shown:
        score = one.get("score")
        name = str(one.get("label")).ljust(width)
        if not isinstance(score, int | float):
            lines.append(name.rstrip())
            continue
        filled = round(max(0.0, min(float(score), 1.0)) * BAR)
        lines.append(f"{name}  {'█' * filled}{'░' * (BAR - filled)}  {score:6.1%}")
    return lines


def _show_file(output: Output, paths: list[Path]) -> None:
    kind = f"{output.media_type or 'file'}, {formats.size(output.size)}"
    if paths:
        say(f"{paths.pop(0)}  ({kind})")
    else:
        say(f"{output.name}: {formats.harmless(output.filename or 'a file')} ({kind}); save it with -o DIR")


def _text(output: Output) -> str:
    value = output.value
    if output.type == "labels":
        return formats.harmless("\n".join(label_bars(_classes(value))))
    if output.type == "label" and isinstance(value, dict):
        score = value.get("score")
        share = f"  {score:.1%}" if isinstance(score, int | float) else ""
        return formats.harmless(f"{value.get('label')}{share}")
    if isinstance(value, str):
        return formats.harmless(value).rstrip("\n")
    if output.type == "number":
        return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2)


def _classes(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        ranked = sorted(value.items(), key=lambda pair: -pair[1] if isinstance(pair[1], int | float) else 0)
        return [{"label": name, "score": score} for name, score in ranked]
    return [one if isinstance(one, dict) else {"label": one} for one in value or []]


def _heading(name: str) -> None:
    if coloured(sys.stdout):
        console().print(name, style="bold")
    else:
        say(f"{name}:")


def _content(output: Output) -> str:
    if isinstance(output.value, str):
        return output.value
    return json.dumps(output.value, ensure_ascii=False, indent=2) + "\n"


def _filename(output: Output) -> str:
    """Return a name for the file that says nothing about directories, whatever the platform answers."""
    given = Path((output.filename or "").replace("\\", "/")).name
    name = _UNSAFE.sub("_", given).lstrip(". ")
    if name:
        return name
    if output.url is None:
        return f"{output.name}.txt" if isinstance(output.value, str) else f"{output.name}.json"
    return output.name + (mimetypes.guess_extension(output.media_type or "") or "")


def _free_name(name: str, taken: set[str]) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix
    free, count = name, 1
    while free.casefold() in taken:
        count += 1
        free = f"{stem}-{count}{suffix}"
    taken.add(free.casefold())
    return free
