"""The fields of a run form, one class per input type. Controls are named `input.<name>`.

A file example is sent as `example.<name>=<index>`; where a file is uploaded too, the file wins.
Values are text, as a form carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

MAX_RADIOS = 4
_ANY = {"audio": "any sound", "image": "any image", "video": "any video", "text": "any text", "*": "any file"}
_KINDS = {"tab-separated-values": "TSV", "plain": "TXT", "mpeg": "MP3", "svg+xml": "SVG"}


@dataclass(frozen=True, kw_only=True)
class ValueExample:
    """A value to click. `label` is what the button says (shortened by the page), `value` what it fills in."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class FileExample:
    """A file of the bundle to click; `url` serves its bytes (a thumbnail for images)."""

    index: int
    filename: str
    url: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InputField:
    """What every field has."""

    kind: ClassVar[str]

    name: str
    title: str
    description: str = ""
    required: bool = True
    error: str | None = None
    """What was wrong with the value that was sent last."""

    @property
    def control(self) -> str:
        """Name of the form control."""
        return f"input.{self.name}"

    @property
    def element(self) -> str:
        """Identifier of the control in the page."""
        return f"input-{self.name}"


@dataclass(frozen=True, kw_only=True)
class TextField(InputField):
    """A line or a box of text."""

    kind: ClassVar[str] = "text"

    value: str = ""
    multiline: bool = False
    min_length: int = 0
    max_length: int | None = None
    examples: tuple[ValueExample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NumberField(InputField):
    """A number; with both limits it also has a slider."""

    kind: ClassVar[str] = "number"

    value: str = ""
    min: float | None = None
    max: float | None = None
    step: float | None = None
    integer: bool = False
    examples: tuple[ValueExample, ...] = ()

    @property
    def has_slider(self) -> bool:
        """Tell whether both ends of the range are known."""
        return self.min is not None and self.max is not None

    @property
    def step_text(self) -> str:
        """Return the `step` attribute: the given one, 1 for whole numbers, else any."""
        if self.step is not None:
            return f"{self.step:.15g}"
        return "1" if self.integer else "any"

    @property
    def slider_step(self) -> str:
        """Return the slider's step: a hundredth of the range where any number is taken."""
        if self.step_text != "any" or self.min is None or self.max is None:
            return self.step_text
        return f"{(self.max - self.min) / 100:.15g}"


@dataclass(frozen=True, kw_only=True)
class ChoiceField(InputField):
    """One of several values: buttons for a few, a list for more."""

    kind: ClassVar[str] = "choice"

    choices: tuple[str, ...]
    value: str = ""
    examples: tuple[ValueExample, ...] = ()

    @property
    def as_radios(self) -> bool:
        """Tell whether the choices are few enough to be seen at once."""
        return len(self.choices) <= MAX_RADIOS


@dataclass(frozen=True, kw_only=True)
class FileField(InputField):
    """Any file."""

    kind: ClassVar[str] = "file"

    accept: tuple[str, ...] = ()
    """Media types or suffixes; empty takes all."""
    max_bytes: int | None = None
    examples: tuple[FileExample, ...] = ()
    chosen: int | None = None
    """Index of the example that is chosen when the page opens."""

    @property
    def accept_words(self) -> str:
        """Say what is taken, as people name it: `PNG, JPEG`, `any sound`."""
        if not self.accept:
            return "Any file"
        return ", ".join(dict.fromkeys(map(_kind_words, self.accept)))


def _kind_words(accepted: str) -> str:
    family, slash, kind = accepted.lower().strip().partition("/")
    if not slash:
        return family.removeprefix(".").upper()
    if kind == "*":
        return _ANY.get(family, f"any {family}")
    return _KINDS.get(kind, kind.removeprefix("x-").upper())


@dataclass(frozen=True, kw_only=True)
class ImageField(FileField):
    """A picture: dropped, picked or pasted, with a preview."""

    kind: ClassVar[str] = "image"


@dataclass(frozen=True, kw_only=True)
class AudioField(FileField):
    """A sound: dropped, picked, pasted or recorded, with its wave to play."""

    kind: ClassVar[str] = "audio"


@dataclass(frozen=True, kw_only=True)
class TableField(FileField):
    """A table as CSV or TSV: dropped, picked or pasted, with its first rows."""

    kind: ClassVar[str] = "table"


@dataclass(frozen=True, kw_only=True)
class JsonField(InputField):
    """A JSON value as text."""

    kind: ClassVar[str] = "json"

    value: str = ""
    max_bytes: int | None = None
    examples: tuple[ValueExample, ...] = ()


AnyField = (
    TextField | NumberField | ChoiceField | FileField | ImageField | AudioField | TableField | JsonField
)
