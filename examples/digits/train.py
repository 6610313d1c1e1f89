"""Trains a small network on handwritten digits and writes it as model.onnx."""

import argparse
import json
from pathlib import Path

import numpy as np
from dataset import SIDE, split
from PIL import Image, ImageOps
from skl2onnx import to_onnx
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier

try:
    from vitrine_metrics import log  # stands in every sandbox; elsewhere `pip install vitrine-harness`
except ModuleNotFoundError:

    def log(step: int, **values: float) -> None:
        """Print the same numbers as JSON lines."""
        print(json.dumps({"step": step, **values}), flush=True)


HANDS = 4
"""Redrawn copies of each training digit."""


def framed(images: np.ndarray) -> np.ndarray:
    """Return the images as `trim` and `fit: contain` of vitrine.yaml frame them: no margin, centred."""
    made = []
    for image in images.reshape(-1, SIDE, SIDE):
        rows, columns = np.nonzero(image > 0.1)
        ink = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        picture = Image.fromarray(ink).resize(
            (ink.shape[1] * 20, ink.shape[0] * 20), Image.Resampling.NEAREST
        )
        made.append(np.asarray(ImageOps.pad(picture, (SIDE, SIDE), Image.Resampling.BILINEAR)).ravel())
    return np.asarray(made, dtype=np.float32)


def redrawn(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the images as other hands might have drawn them: larger, smaller, tilted, a little off."""
    turned = []
    for image in images.reshape(-1, SIDE, SIDE):
        angle, zoom = rng.uniform(-0.2, 0.2), rng.uniform(0.86, 1.16)
        cos, sin, middle = np.cos(angle) / zoom, np.sin(angle) / zoom, (SIDE - 1) / 2
        dx, dy = rng.uniform(-0.8, 0.8, size=2)
        x0 = middle - cos * middle + sin * middle + dx
        y0 = middle - sin * middle - cos * middle + dy
        picture = Image.fromarray(image).transform(
            (SIDE, SIDE), Image.Transform.AFFINE, (cos, -sin, x0, sin, cos, y0), Image.Resampling.BILINEAR
        )
        turned.append(np.asarray(picture).ravel())
    return np.asarray(turned, dtype=np.float32)


def train(epochs: int, seed: int) -> tuple[MLPClassifier, float]:
    """Return the trained classifier and its accuracy on the held-out digits."""
    train_x, held_x, train_y, held_y = split()
    rng = np.random.default_rng(seed)
    seen = np.concatenate([train_x, framed(train_x)])
    images = np.concatenate([seen, *(redrawn(seen, rng) for _ in range(HANDS))])
    labels = np.tile(train_y, 2 * (1 + HANDS))
    tested = framed(held_x)
    model = MLPClassifier(
        hidden_layer_sizes=(400,), alpha=0.05, batch_size=128, learning_rate_init=1e-3, random_state=seed
    )
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(images))
        model.partial_fit(images[order], labels[order], classes=np.arange(10))
        probabilities = model.predict_proba(tested)
        accuracy = float(accuracy_score(held_y, probabilities.argmax(axis=1)))
        loss = float(log_loss(held_y, probabilities))
        log(step=epoch, accuracy=accuracy, loss=loss, training_loss=float(model.loss_))
    return model, accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("model.onnx"))
    options = parser.parse_args()
    model, accuracy = train(options.epochs, options.seed)
    graph = to_onnx(
        model, np.zeros((1, SIDE * SIDE), dtype=np.float32), options={"zipmap": False}, target_opset=17
    )
    options.out.write_bytes(graph.SerializeToString())
    print(f"accuracy on the held-out digits: {accuracy:.3f}; wrote {options.out}")


if __name__ == "__main__":
    main()
