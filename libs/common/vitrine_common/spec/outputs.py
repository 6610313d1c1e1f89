"""Typed outputs: what a run gives back and how it is shown."""

from typing import Literal, Self

from pydantic import Field, model_validator

from vitrine_common.paths import PathPattern
from vitrine_common.spec.base import Section
from vitrine_common.spec.inputs import NAME_PATTERN, tensor_by_name
from vitrine_common.spec.tensors import OutputTensor

OutputType = Literal["text", "number", "image", "label", "labels", "json", "file"]
STDOUT = "stdout"


class Output(Section):
    """One output.

    `labels` maps class names to probabilities and is shown as bars. A script's output is read from the
    files that match `path`, or from what the command prints (`path: stdout`, or no path): `text` and
    `label` take all of it, `number` its last line, `json` and `labels` parse it as JSON.
    """

    name: str = Field(pattern=NAME_PATTERN)
    """Name in results and on the page."""
    type: OutputType
    """What it is."""
    label: str | None = Field(default=None, max_length=200)
    """Title on the page; without it, the name."""
    description: str | None = Field(default=None, max_length=2000)
    """One sentence shown with it."""
    path: PathPattern | None = None
    """File or pattern in the working directory (script models); `stdout` is what the command prints."""
    tensor: OutputTensor | None = None
    """Tensor that it is read from (ONNX models)."""
    required: bool = True
    """Whether a run that does not give it fails."""

    @model_validator(mode="before")
    @classmethod
    def _short_tensor(cls, data: object) -> object:
        return tensor_by_name(data)

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if self.path is not None and self.tensor is not None:
            raise ValueError("has both `path` (script models) and `tensor` (ONNX models); keep one")
        return self

    @property
    def title(self) -> str:
        """Return what people read."""
        return self.label or self.name.replace("_", " ").replace("-", " ").capitalize()
