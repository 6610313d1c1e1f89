"""What a zygote imports before any run has shown what is needed: heavy packages that a bundle names."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

HEAVY = (
    "numpy",
    "torch",
    "onnxruntime",
    "PIL",
    "scipy",
    "pandas",
    "sklearn",
    "matplotlib",
    "cv2",
    "torchvision",
    "transformers",
    "safetensors",
    "skimage",
    "xgboost",
    "lightgbm",
    "mlflow",
    "cog",
)
"""Modules worth importing ahead, in the order in which they are tried."""
IMPORTING = re.compile(rb"^[ \t]*(import|from)[ \t]+([^#\n]+)", re.MULTILINE)
NAME = re.compile(rb"[A-Za-z_]\w*")
MOST_FILES = 200
MOST_BYTES = 1 << 20


def candidates(environment: Path, bundle: Path | None) -> list[str]:
    """Return the heavy modules that an environment has and a bundle's sources import.

    Without sources, as of an ONNX model or of an environment that is made ready ahead, it is what most models
    want that have it.
    """
    named = imported_by(bundle) if bundle is not None else set()
    if not named:
        named = {"torch", "onnxruntime", "numpy", "PIL"}
    sites = [*environment.glob("lib/python3*/site-packages")]
    return [name for name in HEAVY if name in named and any(_has(site, name) for site in sites)]


def imported_by(bundle: Path) -> set[str]:
    """Return the top-level names that a bundle's Python files import, as far as their lines tell."""
    found: set[str] = set()
    for path in islice(_sources(bundle), MOST_FILES):
        try:
            with path.open("rb") as stream:
                text = stream.read(MOST_BYTES)
        except OSError:
            continue
        for kind, rest in IMPORTING.findall(text):
            parts = rest.split(b",") if kind == b"import" else [rest]
            found |= {name[0].decode() for part in parts if (name := NAME.match(part.strip()))}
    return found


def _sources(bundle: Path) -> list[Path]:
    found = []
    for folder, _, names in os.walk(bundle):
        found += [Path(folder, name) for name in names if name.endswith(".py")]
        if len(found) >= MOST_FILES:
            break
    return found


def _has(site: Path, name: str) -> bool:
    return (site / name / "__init__.py").is_file() or (site / f"{name}.py").is_file()
