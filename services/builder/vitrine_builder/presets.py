"""Package lists that the platform keeps, for models that bring no requirements of their own."""

from __future__ import annotations

from typing import Literal

PRESETS: dict[Literal["onnx"], tuple[str, ...]] = {
    # Runs a model and reads images for it; resolved and locked like any author's list.
    "onnx": ("numpy==2.4.6", "onnxruntime==1.31.1", "pillow==13.0.0"),
}


def preset_file(name: Literal["onnx"]) -> bytes:
    """Return the preset `name` as the bytes of a requirements file."""
    return "".join(f"{line}\n" for line in PRESETS[name]).encode()
