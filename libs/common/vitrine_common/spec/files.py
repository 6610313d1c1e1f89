"""Which files of a bundle a spec names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitrine_common.paths import glob_matches
from vitrine_common.spec.interface import output_pattern

if TYPE_CHECKING:
    from vitrine_common.spec.model import Spec


def named_files(spec: Spec) -> dict[str, str]:
    """Return field → path of the files that must be in the bundle before it can be run.

    With `train`, files that its `outputs` name are left out: the training makes them.
    """
    named = {
        "onnx": spec.onnx,
        "predictor": spec.predictor_file(),
        "mlflow": spec.mlflow_file(),
        "package.requirements_file": spec.package.requirements_file,
        "train.requirements_file": spec.train.requirements_file if spec.train else None,
        "model_card": spec.model_card_file(),
    }
    for index, item in enumerate(spec.inputs or []):
        if item.is_file:
            examples = getattr(item, "examples", [])
            named |= {f"inputs[{index}].examples[{place}]": path for place, path in enumerate(examples)}
    return {field: path for field, path in named.items() if path is not None and not _is_trained(spec, path)}


def _is_trained(spec: Spec, path: str) -> bool:
    patterns = [output_pattern(pattern, None) for pattern in spec.train.outputs] if spec.train else []
    return any(glob_matches(path, pattern) or pattern == f"{path}/**/*" for pattern in patterns)
