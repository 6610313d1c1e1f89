"""What a sandbox is told to load, and what a run is told when that fails."""

from __future__ import annotations

from vitrine_common.spec import ModelKind
from vitrine_common.states import Reason
from vitrine_engine import (
    Batching,
    LoadError,
    MlflowModel,
    Model,
    OnnxModel,
    PredictorModel,
    SandboxGoneError,
    ScriptModel,
)
from vitrine_runner.bundles import Bundle
from vitrine_runner.errors import RunFault


def model_of(bundle: Bundle) -> Model:
    """Return what a sandbox is told to load."""
    form = bundle.form
    interface = {"inputs": form["inputs"], "outputs": form["outputs"]}
    match bundle.spec.kind():
        case ModelKind.ONNX:
            return OnnxModel(path=form["onnx"], **interface)
        case ModelKind.MLFLOW:
            return MlflowModel(path=form["mlflow"], **interface)
        case ModelKind.PREDICTOR:
            batching = bundle.spec.scaling.batching
            sizes = Batching(size=batching.max_size, wait_seconds=batching.max_wait) if batching else None
            return PredictorModel(target=form["predictor"], batching=sizes, **interface)
    return ScriptModel(argv=tuple(form["argv"]))


def load_fault(error: BaseException) -> BaseException:
    """Return what a run is told whose model could not be loaded; other errors as they are."""
    if isinstance(error, LoadError):
        return RunFault(Reason(error.reason.value), f"The model cannot be loaded: {error}", error.log)
    if isinstance(error, SandboxGoneError):
        return RunFault(Reason.PLATFORM_ERROR, f"The sandbox ended while it loaded the model: {error}")
    return error
