"""scikit-learn's handwritten digits (1797 real ones, 8 x 8 pixels), split once and for all."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 20
SIDE = 8
INK = 16.0


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train and held-out images (N x 64, float32, 0 paper to 1 ink) and their labels (N, int64)."""
    digits = load_digits()
    train_x, held_x, train_y, held_y = train_test_split(
        (digits.data / INK).astype(np.float32),
        digits.target.astype(np.int64),
        test_size=0.2,
        random_state=SPLIT_SEED,
        stratify=digits.target,
    )
    return train_x, held_x, train_y, held_y
