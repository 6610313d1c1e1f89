"""`MLmodel`: a directory that MLflow saved, its requirements and its signature.

Source: https://mlflow.org/docs/latest/ml/model/ (storage format, model signature).
"""

from __future__ import annotations

import json
from typing import Any

from vitrine_common.projects.pythons import python_notes
from vitrine_common.spec.document import Document
from vitrine_common.spec.errors import SpecError, SpecProblem

MAX_COLUMNS_TOLD = 40
ROWS, TABLE, TENSOR = "rows", "table", "tensor"
_TABLES = [".csv", ".tsv", ".parquet", "text/csv", "text/tab-separated-values"]


def read(document: Document, file: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plain spec of an MLflow model and what its author should know. Raises SpecError."""
    flavour = (document.data.get("flavors") or {}).get("python_function")
    if not isinstance(flavour, dict):
        message = (
            "has no `python_function` flavour, which is what can be run; save the model with MLflow's pyfunc"
        )
        raise SpecError([SpecProblem("flavors", message, file, document.line(("flavors",)) or 1)])
    return {"mlflow": "."}, python_notes(file, "was saved with", flavour.get("python_version"))


def interface(data: dict[str, Any], example: Any = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return `inputs` and `outputs` of a spec for the content of an `MLmodel`.

    Args:
        data: the file.
        example: the content of the input example that was saved with it.
    """
    signature = data.get("signature") or {}
    given = _schema(signature.get("inputs"))
    outputs = [
        {"name": "predictions", "type": "json", "description": _described(_schema(signature.get("outputs")))}
    ]
    if given and given[0].get("type") == "tensor":
        shape = (given[0].get("tensor-spec") or {}).get("shape") or []
        text = f"Nested list of shape {' x '.join('any' if size == -1 else str(size) for size in shape)}."
        return [{"name": TENSOR, "type": "json", "description": text}], outputs
    columns = [column for column in given if isinstance(column.get("name"), str)]
    rows = {"name": ROWS, "type": "json", "required": False, "description": _rows_described(columns)}
    found = _rows_of(example)
    if found is not None:
        rows["default"] = found
    table = {"name": TABLE, "type": "file", "accept": _TABLES, "required": False}
    return [
        rows,
        {**table, "description": "The rows as a file instead, with a line of column names."},
    ], outputs


def _schema(text: object) -> list[dict[str, Any]]:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _rows_described(columns: list[dict[str, Any]]) -> str:
    if not columns:
        return "List of objects, one for each row."
    listed = ", ".join(f"{column['name']} ({column.get('type')})" for column in columns[:MAX_COLUMNS_TOLD])
    more = f" and {len(columns) - MAX_COLUMNS_TOLD} more" if len(columns) > MAX_COLUMNS_TOLD else ""
    return f"List of objects, one for each row, with {listed}{more}."[:2000]


def _described(schema: list[dict[str, Any]]) -> str:
    names = [str(item["name"]) for item in schema if item.get("name")]
    return f"For each row: {', '.join(names)}."[:2000] if names else "One for each row."


def _rows_of(example: Any) -> list[dict[str, Any]] | None:
    """Return an input example as rows: MLflow writes `{"columns": […], "data": [[…]]}`, or what was given."""
    if isinstance(example, dict) and isinstance(example.get("inputs"), list):
        example = example["inputs"]
    if isinstance(example, dict) and isinstance(example.get("dataframe_split"), dict):
        example = example["dataframe_split"]
    if isinstance(example, dict) and isinstance(example.get("columns"), list):
        return [dict(zip(example["columns"], row, strict=False)) for row in example.get("data") or []][:3]
    if isinstance(example, list) and all(isinstance(row, dict) for row in example):
        return example[:3]
    return None
