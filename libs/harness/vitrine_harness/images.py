"""Pictures to tensors and back, as an ONNX model's declared inputs and outputs say."""

from __future__ import annotations

import io
from typing import Any

MAX_PIXELS = 64_000_000
"""Pictures beyond this are refused before they are decoded: small files can unpack to gigabytes."""


def image_tensor(data: bytes, spec: dict[str, Any]) -> Any:
    """Return the tensor of an encoded picture.

    In this order: decode (turned upright, transparency on white); `mode`; `invert`; `trim`; `size` with
    `fit`, margins in the colour of the edge; pixels 0 to 255 as floats; times `scale`, plus `offset`; minus
    `mean`, divided by `std`; `layout`. The edge is that of the whole picture: a trimmed one has ink at its
    edge. Raises `ValueError` with what is wrong with the picture.
    """
    import numpy as np
    from PIL import ImageOps

    image = decode(data).convert(spec.get("mode") or "RGB")
    if spec.get("invert") is True or (spec.get("invert") == "auto" and np.mean(_edge(image)) > 127.5):
        image = ImageOps.invert(image)
    edge = _edge(image)
    if spec.get("trim"):
        image = _trimmed(image)
    if spec.get("size"):
        height, width = spec["size"]
        image = _resized(image, (int(width), int(height)), spec.get("fit") or "stretch", edge)
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    scale = spec.get("scale")
    if scale is None:
        scale = 1 / 255 if str(spec.get("dtype") or "float32").startswith("float") else 1.0
    pixels = pixels * scale + (spec.get("offset") or 0.0)
    if spec.get("mean") is not None:
        pixels = pixels - np.asarray(spec["mean"], dtype=np.float64)
    if spec.get("std") is not None:
        pixels = pixels / np.asarray(spec["std"], dtype=np.float64)
    return arranged(pixels, spec.get("layout") or "NCHW")


def decode(data: bytes) -> Any:
    """Return the first frame, upright, as an RGB or grey PIL image; raises `ValueError`."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    if not data:
        raise ValueError("is empty")
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:
        raise ValueError("is not an image that can be read (PNG, JPEG, WebP, GIF, BMP)") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million")
    try:
        image = ImageOps.exif_transpose(image)
        return _opaque(image)
    except Exception as error:
        raise ValueError(f"is a damaged image: {error}") from error


def _opaque(image: Any) -> Any:
    from PIL import Image

    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _trimmed(image: Any) -> Any:
    """Cut the margin whose grey value is within a tenth of that of most of the edge."""
    import numpy as np

    grey = image.convert("L")
    rows, columns = np.nonzero(np.abs(np.asarray(grey, dtype=np.int16) - _edge(grey)[0]) > 26)
    if not rows.size:
        return image
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return image.crop(tuple(int(side) for side in box))


def _resized(image: Any, size: tuple[int, int], fit: str, edge: tuple[int, ...]) -> Any:
    from PIL import Image, ImageOps

    method = Image.Resampling.BILINEAR
    if fit == "cover":
        return ImageOps.fit(image, size, method)
    if fit == "contain":
        return ImageOps.pad(image, size, method, color=edge if len(edge) > 1 else edge[0])
    return image.resize(size, method)


def _edge(image: Any) -> tuple[int, ...]:
    """Return the median colour of the outermost pixels, channel by channel."""
    import numpy as np

    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(edge, axis=0))


def arranged(pixels: Any, layout: str) -> Any:
    """Return height x width x channels in the order that `layout` names."""
    if layout == "flat":
        return pixels.reshape(1, -1)
    if layout in {"HW", "NHW"}:
        pixels = pixels[:, :, 0]
    elif layout in {"CHW", "NCHW"}:
        pixels = pixels.transpose(2, 0, 1)
    return pixels[None] if layout.startswith("N") else pixels


def encoded(array: Any, spec: dict[str, Any]) -> bytes:
    """Return a tensor as PNG; raises `ValueError` when it is not a picture in the declared layout."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(array, dtype=np.float64) * float(spec.get("scale") or 1.0)
    pixels = pixels + float(spec.get("offset") or 0.0)
    layout = spec.get("layout") or "NCHW"
    if layout.startswith("N"):
        pixels = pixels[0]
    if layout in {"CHW", "NCHW"} and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in {3, 4}):
        raise ValueError(f"a tensor of shape {np.shape(array)} is no picture in layout {layout}")
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.rint(np.nan_to_num(pixels)), 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
