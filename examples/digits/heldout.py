"""Writes handwritten digits that the training never saw as PNG files, with their true labels.

python heldout.py --seed 3 --out DIR          one digit: DIR/digit.png, DIR/label.json
python heldout.py --out DIR --all             all of them: DIR/0000.png …, DIR/labels.json
python heldout.py --out DIR --dataset         all of them as the dataset of the claim: DIR/0000.pgm …
"""

import argparse
import json
from pathlib import Path

import numpy as np
from dataset import SIDE, split
from PIL import Image

SCALE = 20


def picture(image: np.ndarray) -> Image.Image:
    """Return a digit as 160 x 160 pixels, white on black."""
    pixels = np.rint(image.reshape(SIDE, SIDE) * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIDE * SCALE, SIDE * SCALE), Image.Resampling.NEAREST)


def plain(image: np.ndarray) -> bytes:
    """Return a digit as a PGM file of 8 x 8 pixels: the same bytes on every machine."""
    pixels = np.rint(image.reshape(SIDE, SIDE) * 255).astype(np.uint8)
    return b"P5\n%d %d\n255\n" % (SIDE, SIDE) + pixels.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="which digit is drawn")
    parser.add_argument("--out", type=Path, required=True, help="directory that the files are written to")
    parser.add_argument("--all", action="store_true", help="write every held-out digit")
    parser.add_argument("--dataset", action="store_true", help="write the dataset of the claim")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    _, images, _, labels = split()
    if options.dataset:
        known = {f"{index:04d}.pgm": int(label) for index, label in enumerate(labels)}
        for name, image in zip(known, images, strict=True):
            (options.out / name).write_bytes(plain(image))
        (options.out / "labels.json").write_text(json.dumps(known, indent=1) + "\n")
        print(json.dumps({"digits": len(known), "labels": str(options.out / "labels.json")}))
        return
    if options.all:
        names = {f"{index:04d}.png": int(label) for index, label in enumerate(labels)}
        for name, image in zip(names, images, strict=True):
            picture(image).save(options.out / name)
        (options.out / "labels.json").write_text(json.dumps(names, indent=1) + "\n")
        print(json.dumps({"digits": len(names), "labels": str(options.out / "labels.json")}))
        return
    index = int(np.random.default_rng(options.seed).integers(len(images)))
    picture(images[index]).save(options.out / "digit.png")
    drawn = {"index": index, "label": int(labels[index]), "file": str(options.out / "digit.png")}
    (options.out / "label.json").write_text(json.dumps(drawn) + "\n")
    print(json.dumps(drawn))


if __name__ == "__main__":
    main()
