"""Draws samples/harbour.jpg: an evening harbour made of gradients and shapes, so that no photo is needed."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, HORIZON = 480, 320, 190


def main() -> None:
    rng = np.random.default_rng(4)
    rows = np.linspace(0, 1, HEIGHT)[:, None]
    sky = np.stack([90 + 165 * rows, 110 + 60 * rows, 190 - 90 * rows], axis=-1).repeat(WIDTH, axis=1)
    sky[HORIZON:] = sky[HORIZON:] * 0.45 + rng.normal(0, 10, (HEIGHT - HORIZON, WIDTH, 1))
    picture = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((330, 120, 390, 180), fill=(255, 226, 150))
    draw.polygon([(0, HORIZON), (60, 120), (130, 160), (210, 105), (300, HORIZON)], fill=(62, 58, 92))
    for x in (80, 190, 380):
        draw.polygon([(x, 250), (x + 70, 250), (x + 56, 272), (x + 12, 272)], fill=(74, 30, 34))
        draw.line([(x + 34, 250), (x + 34, 168)], fill=(40, 26, 30), width=3)
        draw.polygon([(x + 37, 172), (x + 37, 242), (x + 74, 242)], fill=(240, 232, 214))
    target = Path(__file__).parent / "samples" / "harbour.jpg"
    picture.filter(ImageFilter.GaussianBlur(0.6)).save(target, quality=85)


if __name__ == "__main__":
    main()
