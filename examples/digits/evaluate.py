"""Counts how many held-out digits model.onnx reads right: the claim of vitrine.yaml.

On the platform the digits lie where VITRINE_DATA_DIR says; elsewhere `python evaluate.py DIR` names them
(`heldout.py --dataset --out DIR` writes them). Digits that somebody added lie in `own/` beside their
labels, `own.json`.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SIDE = 8


def tensor(file: Path) -> np.ndarray:
    """Return a picture as vitrine.yaml has it read: light ink, no margin, centred, 8 x 8."""
    picture = Image.open(file).convert("L")
    if picture.width == SIDE:
        picture = picture.resize((SIDE * 20, SIDE * 20), Image.Resampling.NEAREST)
    edges = np.asarray(picture)
    border = np.concatenate([edges[0], edges[-1], edges[:, 0], edges[:, -1]])
    if np.median(border) > 127:
        picture = ImageOps.invert(picture)
    ink = np.asarray(picture) > 25
    if ink.any():
        rows, columns = ink.any(axis=1).nonzero()[0], ink.any(axis=0).nonzero()[0]
        picture = picture.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    padded = ImageOps.pad(picture, (SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(padded, dtype=np.float32).ravel() / 255


def labelled(folder: Path) -> list[tuple[Path, int]]:
    """Return the digits of a dataset and what they are."""
    known = json.loads((folder / "labels.json").read_text())
    found = [(folder / name, int(label)) for name, label in known.items()]
    own = folder / "own"
    if (own / "own.json").is_file():
        found += [
            (own / name, int(label)) for name, label in json.loads((own / "own.json").read_text()).items()
        ]
    return found


def main() -> None:
    folder = Path(os.environ.get("VITRINE_DATA_DIR") or sys.argv[1])
    digits = labelled(folder)
    images = np.stack([tensor(file) for file, _ in digits])
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {session.get_inputs()[0].name: images})
    read = np.asarray(probabilities).argmax(axis=1)
    right = int((read == np.array([label for _, label in digits])).sum())
    print(json.dumps({"accuracy": right / len(digits), "right": right, "digits": len(digits)}))


if __name__ == "__main__":
    main()
