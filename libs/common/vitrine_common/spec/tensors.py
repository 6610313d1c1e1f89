"""How values become tensors of an ONNX model, and tensors become values."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vitrine_common.spec.base import Section

Layout = Literal["flat", "HW", "NHW", "CHW", "HWC", "NCHW", "NHWC"]
DType = Literal["float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool", "string"]
Side = Annotated[int, Field(ge=1, le=8192)]
ClassName = Annotated[
    str,
    Field(coerce_numbers_to_str=True, max_length=1000, json_schema_extra={"type": ["string", "number"]}),
]
PerChannel = float | list[float]


class InputTensor(Section):
    """How one input becomes one tensor.

    An image is made a tensor in this order: decode (transparent parts are white); `mode`; `invert`; `trim`;
    `size` with `fit`, margins in the colour of the edge; pixels 0 to 255 as floats; times `scale`, plus
    `offset`; minus `mean`, divided by `std`; `layout`; `dtype`.
    """

    name: str | None = Field(default=None, min_length=1, max_length=256)
    """Name of the tensor in the model; without it, the model's input at the same position."""
    shape: list[Annotated[int, Field(ge=1, le=1 << 24)]] | None = Field(default=None, max_length=8)
    """Shape that the values are put into (number, text, choice, json)."""
    size: tuple[Side, Side] | None = None
    """Height and width that an image is resized to, in pixels."""
    mode: Literal["L", "RGB"] = "RGB"
    """Grey (`L`, one channel) or colour (`RGB`, three channels)."""
    fit: Literal["stretch", "contain", "cover"] = "stretch"
    """How an image of other proportions is resized: stretched, fitted with margins, or cut at the edges."""
    trim: bool = False
    """Cut off the margin around what is drawn: outer rows and columns that look like the edge."""
    layout: Layout = "NCHW"
    """Order of the axes: N batch (always 1), C channels, H height, W width; `flat` is 1 x (H*W*C)."""
    dtype: DType = "float32"
    """Type of the tensor's elements."""
    scale: float | None = None
    """Factor for pixels; without it, 1/255 for floating types and 1 for the others."""
    offset: float = 0.0
    """Added after `scale`."""
    mean: PerChannel | None = None
    """Subtracted after `offset`: one number, or one per channel."""
    std: PerChannel | None = None
    """Divides after `mean`: one number, or one per channel."""
    invert: bool | Literal["auto"] = False
    """Turn light into dark; `auto` does so when most of the image's edge is lighter than mid grey."""

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        channels = 1 if self.mode == "L" else 3
        for key, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, list) and len(value) != channels:
                raise ValueError(
                    f"`{key}` has {len(value)} numbers, but mode {self.mode} has {channels} channels"
                )
        if self.std is not None and 0 in (self.std if isinstance(self.std, list) else [self.std]):
            raise ValueError("`std` must not be 0")
        if channels == 3 and self.layout in {"HW", "NHW"}:
            raise ValueError(f"layout {self.layout} has no channels: write `mode: L`, or another layout")
        return self


class OutputTensor(Section):
    """How one tensor becomes one output. Several outputs may read the same tensor."""

    name: str | None = Field(default=None, min_length=1, max_length=256)
    """Name of the tensor in the model; without it, the model's first output."""
    labels: list[ClassName] | None = Field(default=None, min_length=1, max_length=100_000)
    """Names of the classes, in the order of the tensor; without it, their positions."""
    softmax: bool = False
    """Turn scores into probabilities."""
    argmax: bool = False
    """Take the position of the largest value (types `label` and `number`)."""
    top: int | None = Field(default=None, ge=1, le=1000)
    """Keep only the most probable classes (type `labels`)."""
    scale: float = 1.0
    """Factor for values or pixels (types `image` and `number`); 255 for images in 0 to 1."""
    offset: float = 0.0
    """Added after `scale`."""
    layout: Layout = "NCHW"
    """Order of the axes (type `image`)."""
