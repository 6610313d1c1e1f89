"""Typed inputs: the web form, the command line's help and the API's checks come from these."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from vitrine_common.paths import FilePath
from vitrine_common.spec.base import Section
from vitrine_common.spec.quantities import Size
from vitrine_common.spec.tensors import InputTensor

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
Number = StrictInt | StrictFloat
Scalar = StrictInt | StrictFloat | Annotated[StrictStr, Field(max_length=10_000)]
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")


class InputBase(Section):
    """What every input has."""

    is_file: ClassVar[bool] = False

    name: str = Field(pattern=NAME_PATTERN)
    """Name in forms, flags (`--name`) and `VITRINE_INPUT_NAME`."""
    label: str | None = Field(default=None, max_length=200)
    """Title in the form; without it, the name."""
    description: str | None = Field(default=None, max_length=2000)
    """One sentence shown under the field."""
    required: bool | None = None
    """Whether a value must be given; without it, true unless there is a default."""
    flag: Annotated[str, Field(max_length=100)] | bool | None = None
    """Flag that carries the value; true is `--name`, false is none. Flag models have one by default."""
    destination: FilePath | None = None
    """File in the working directory that the value is written to before the command runs."""
    tensor: InputTensor | None = None
    """How the value becomes a tensor (ONNX models)."""

    @model_validator(mode="before")
    @classmethod
    def _short_tensor(cls, data: object) -> object:
        return tensor_by_name(data)

    @property
    def title(self) -> str:
        """Return what people read."""
        return self.label or self.name.replace("_", " ").replace("-", " ").capitalize()

    @property
    def must_be_given(self) -> bool:
        """Tell whether a run without a value is refused."""
        if self.required is not None:
            return self.required
        return getattr(self, "default", None) is None

    @property
    def variable(self) -> str:
        """Return the environment variable that carries the value."""
        return "VITRINE_INPUT_" + self.name.upper().replace("-", "_")


class TextInput(InputBase):
    """A line or a paragraph of text."""

    type: Literal["text"] = "text"
    """`text`."""
    default: str | None = None
    """Value when none is given."""
    min_length: int = Field(default=0, ge=0)
    """Fewest characters."""
    max_length: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most characters."""
    multiline: bool = False
    """Show a box of several lines."""
    examples: list[str] = Field(default_factory=list, max_length=50)
    """Values to click."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        for value in ([self.default] if self.default is not None else []) + self.examples:
            if not self.min_length <= len(value) <= self.max_length:
                raise ValueError(
                    f"`{value[:40]}` does not have {self.min_length} to {self.max_length} characters"
                )
        return self


class NumberInput(InputBase):
    """A number, optionally whole and within limits."""

    type: Literal["number"] = "number"
    """`number`."""
    default: Number | None = None
    """Value when none is given."""
    min: Number | None = None
    """Smallest value."""
    max: Number | None = None
    """Largest value."""
    step: float | None = Field(default=None, gt=0)
    """Step of the form's field."""
    integer: bool = False
    """Whether only whole numbers are taken."""
    examples: list[Number] = Field(default_factory=list, max_length=50)
    """Values to click."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` {self.min} is larger than `max` {self.max}")
        for value in ([self.default] if self.default is not None else []) + self.examples:
            fault = self.fault(value)
            if fault:
                raise ValueError(f"{value} {fault}")
        return self

    def fault(self, value: float) -> str | None:
        """Say why `value` is out of this input's limits, or return None."""
        if self.integer and value != int(value):
            return "is not a whole number"
        if self.min is not None and value < self.min:
            return f"is smaller than {self.min}"
        if self.max is not None and value > self.max:
            return f"is larger than {self.max}"
        return None


class BooleanInput(InputBase):
    """Yes or no."""

    type: Literal["boolean"] = "boolean"
    """`boolean`."""
    default: StrictBool | None = None
    """Value when none is given."""
    examples: list[StrictBool] = Field(default_factory=list, max_length=2)
    """Values to click."""


class ChoiceInput(InputBase):
    """One of several given values."""

    type: Literal["choice"] = "choice"
    """`choice`."""
    choices: list[Scalar] = Field(min_length=1, max_length=1000)
    """Values to choose from (quote `"yes"` and `"no"`: YAML reads them as true and false)."""
    default: Scalar | None = None
    """Value when none is given."""
    examples: list[Scalar] = Field(default_factory=list, max_length=50)
    """Values to click."""

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if len({str(choice) for choice in self.choices}) != len(self.choices):
            raise ValueError("`choices` names a value twice")
        for value in ([self.default] if self.default is not None else []) + self.examples:
            if value not in self.choices:
                raise ValueError(f"`{value}` is not one of the choices")
        return self


class ImageInput(InputBase):
    """A picture that is uploaded."""

    is_file: ClassVar[bool] = True
    type: Literal["image"] = "image"
    """`image`."""
    accept: list[str] = Field(default_factory=lambda: list(IMAGE_TYPES), max_length=50)
    """Media types that are taken; without it, PNG, JPEG, WebP, GIF and BMP."""
    max_bytes: Size = 20_000_000
    """Largest file."""
    examples: list[FilePath] = Field(default_factory=list, max_length=50)
    """Pictures of the bundle to click."""


class FileInput(InputBase):
    """Any file that is uploaded."""

    is_file: ClassVar[bool] = True
    type: Literal["file"] = "file"
    """`file`."""
    accept: list[str] = Field(default_factory=list, max_length=50)
    """Media types (`text/csv`, `audio/*`) or suffixes (`.csv`) that are taken; empty takes all."""
    max_bytes: Size = 100_000_000
    """Largest file."""
    examples: list[FilePath] = Field(default_factory=list, max_length=50)
    """Files of the bundle to click."""


class JsonInput(InputBase):
    """Any JSON value."""

    type: Literal["json"] = "json"
    """`json`."""
    default: Any = None
    """Value when none is given."""
    max_bytes: Size = 1_000_000
    """Largest value, as JSON text."""
    examples: list[Any] = Field(default_factory=list, max_length=50)
    """Values to click."""


Input = Annotated[
    TextInput | NumberInput | BooleanInput | ChoiceInput | ImageInput | FileInput | JsonInput,
    Field(discriminator="type"),
]
"""One typed input; `type` says which."""


def tensor_by_name(data: object) -> object:
    """Read `tensor: x` as `tensor: {name: x}`."""
    if isinstance(data, dict) and isinstance(data.get("tensor"), str):
        return {**data, "tensor": {"name": data["tensor"]}}
    return data
