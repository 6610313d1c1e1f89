"""What every section of `vitrine.yaml` has in common."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the file: unknown keys are refused, values cannot be changed after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class ModelKind(StrEnum):
    """How a version is run."""

    SCRIPT = "script"
    ONNX = "onnx"
    PREDICTOR = "predictor"
    MLFLOW = "mlflow"

    @property
    def has_code(self) -> bool:
        """Whether the author's own code is called, whose results say by themselves what they are."""
        return self in {ModelKind.PREDICTOR, ModelKind.MLFLOW}
