"""Models that MLflow saved: rows or tensors in, predictions out, by their `python_function` flavour."""

from __future__ import annotations

import os
import traceback
from typing import Any

from vitrine_harness import returned
from vitrine_harness.arguments import table
from vitrine_harness.executing import NoModelError, told
from vitrine_harness.jobs import Failed, Job
from vitrine_harness.workspace import WORK

ROWS, TABLE, TENSOR = "rows", "table", "tensor"
"""Names of the inputs that follow from a model's signature (`vitrine_common.signature.mlflow`)."""
_DTYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "string": "object",
    "binary": "object",
    "datetime": "datetime64[ns]",
}


def load(request: dict[str, Any]) -> MlflowServer:
    """Load the model; raises `NoModelError`."""
    try:
        from mlflow import pyfunc  # type: ignore[import-not-found]
    except ImportError as error:
        text = f"the environment lacks MLflow ({error}); add mlflow or mlflow-skinny to its requirements"
        raise NoModelError(text, told(error)) from error
    try:
        model = pyfunc.load_model(os.path.join(WORK, request["path"]))
    except BaseException as error:
        text = "".join(traceback.format_exception_only(error)).strip()
        raise NoModelError(f"MLflow cannot load the model: {text}"[:2000], told(error)) from error
    return MlflowServer(model, request["outputs"])


class MlflowServer:
    """A loaded model and its signature."""

    def __init__(self, model: Any, outputs: list[dict[str, Any]]) -> None:
        self._model = model
        self._outputs = outputs
        schema = model.metadata.get_input_schema()
        self._columns: dict[str, str] = {}
        self._dtype: str | None = None
        if schema is not None and schema.is_tensor_spec():
            self._dtype = str(schema.inputs[0].type)
        elif schema is not None and schema.has_input_names():
            self._columns = {column.name: column.type.name for column in schema.inputs}

    def serve(self, job: Job) -> None:
        """Do one run."""
        data = self._data(job)
        job.send({"is": "started", "work": "none"})
        found = self._model.predict(data)
        job.send({"is": "exited", "code": 0})
        returned.send(job, self._outputs, found)

    def _data(self, job: Job) -> Any:
        try:
            if TABLE in job.files:
                import pandas  # type: ignore[import-untyped]

                return self._fitted(table(pandas, str(job.files[TABLE])))
            if job.values.get(ROWS) is not None:
                return self._frame(job.values[ROWS])
            if job.values.get(TENSOR) is not None:
                import numpy as np

                return np.asarray(job.values[TENSOR], dtype=self._dtype)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failed("input_invalid", f"the input cannot be read as a table: {error}") from error
        raise Failed("input_invalid", f"nothing was given; give `{ROWS}` or `{TABLE}`")

    def _frame(self, rows: Any) -> Any:
        import pandas

        if isinstance(rows, dict):
            rows = [rows]
        return self._fitted(pandas.DataFrame(rows))

    def _fitted(self, frame: Any) -> Any:
        """Return the columns of the signature, in its order and types: JSON and CSV know fewer of them."""
        if not self._columns:
            return frame
        missing = [name for name in self._columns if name not in frame.columns]
        if missing:
            text = f"the column `{missing[0]}` is missing; the model takes {', '.join(self._columns)}"
            raise Failed("input_invalid", text)
        return frame[list(self._columns)].astype(
            {name: _DTYPES[kind] for name, kind in self._columns.items() if kind in _DTYPES}
        )
