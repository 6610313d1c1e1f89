"""A duotone print: reads ./datasets/testA/image.jpg, writes ./results/duotone/image.png.

It knows nothing of Vitrine: it reads one path and writes another, as on its author's machine.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

SOURCE = Path("./datasets/testA/image.jpg")
TARGET = Path("./results/duotone/image.png")
INK = np.array([28, 35, 92], dtype=np.float32)
PAPER = np.array([255, 214, 165], dtype=np.float32)
LEVELS = 6
MAX_SIDE = 1600


def duotone(picture: Image.Image) -> Image.Image:
    """Return the picture in two colours: flat areas in a few steps, edges as drawn lines."""
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    grey = ImageOps.autocontrast(picture.convert("L").filter(ImageFilter.MedianFilter(5)), cutoff=1)
    tones = np.floor(np.asarray(grey, dtype=np.float32) / 256 * LEVELS) / (LEVELS - 1)
    edges = np.asarray(grey.filter(ImageFilter.FIND_EDGES), dtype=np.float32) / 255
    light = np.clip(tones - 1.5 * edges, 0, 1)[..., None]
    return Image.fromarray(np.rint(INK + light * (PAPER - INK)).astype(np.uint8))


def main() -> None:
    with Image.open(SOURCE) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    result = duotone(upright)
    result.save(TARGET)
    print(f"{SOURCE}: {upright.width} x {upright.height} -> {TARGET}: {result.width} x {result.height}")


if __name__ == "__main__":
    main()
