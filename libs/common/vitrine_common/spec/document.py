"""Reading YAML (and JSON, which is a part of it) safely, with the line of every key.

Only plain data comes out: no tags, no merge keys, no duplicate keys. Size, depth and the number of
values are limited, aliases counted as often as they are used, so an alias bomb costs nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml

from vitrine_common.spec.errors import SpecError, SpecProblem, sentence

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_VALUES = 20_000
MAX_DIGITS = 300
Place = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_NAMES = {_TAG + "map": "a mapping", _TAG + "seq": "a list"}


@dataclass
class Document:
    """Plain data and the line (from 1) of each key or list entry."""

    data: Any
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int | None:
        """Return the line of `place`, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


class _Refused(Exception):
    """Raised inside this module with the mark of what is refused."""

    def __init__(self, line: int, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.advice = line, message, advice


def read_document(text: str, filename: str) -> Document:
    """Return the data in `text`. Raises SpecError with one problem."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise SpecError([SpecProblem("", f"is larger than {MAX_BYTES // 1024} KiB", filename)])
    if text.lstrip().startswith("{"):
        text = text.replace(
            "\t", " "
        )  # JSON indents with tabs, YAML must not; inside JSON text none can stand
    try:
        _check_depth(text)
        return _Reader().read(yaml.compose(text, Loader=yaml.SafeLoader))
    except _Refused as refused:
        problem = SpecProblem("", sentence(refused.message, refused.advice), filename, refused.line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = SpecProblem("", f"is not YAML: {error.problem}", filename, line)
    except (yaml.YAMLError, ValueError) as error:
        problem = SpecProblem("", f"is not YAML: {str(error).splitlines()[0]}", filename)
    raise SpecError([problem])


def _check_depth(text: str) -> None:
    """Refuse deep nesting before anything recursive sees it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise _Refused(line, f"is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Turns nodes into data, counting values so that aliases cannot multiply."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.values = 0
        self.scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node | None) -> Document:
        if node is None:
            raise _Refused(1, "is empty", "write at least `name:` and what runs")
        return Document(self._value(node, (), 0), self.lines)

    def _value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            raise _Refused(line, "has too many values; aliases count as often as they are used")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._entry(child, (*place, index), depth) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, place, depth)
        raise _Refused(line, f"has the tag `{node.tag}`", "remove it: only plain values are read")

    def _entry(self, node: yaml.Node, place: Place, depth: int) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        return self._value(node, place, depth + 1)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                raise _Refused(line, "has a merge key `<<`", "write the keys out")
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(line, f"has {_NAMES.get(key_node.tag, 'a tag')} as a key", "write a word")
            key = key_node.value
            if key in result:
                raise _Refused(line, f"has the key `{key}` twice", "keep one of them")
            self.lines.setdefault((*place, key), line)
            result[key] = self._value(value_node, (*place, key), depth + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        line = node.start_mark.line + 1
        if node.tag not in _SCALARS:
            raise _Refused(line, f"has the tag `{node.tag}`", "remove it: only plain values are read")
        if place == ("version",) or node.tag == _TAG + "timestamp":
            return node.value  # 1.10 is a label, not the number 1.1; dates stay as they are written
        if node.tag in {_TAG + "int", _TAG + "float"} and len(node.value) > MAX_DIGITS:
            raise _Refused(line, f"has a number of more than {MAX_DIGITS} characters")
        return self.scalars.construct_object(node, deep=False)
