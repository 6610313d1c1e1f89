"""The JSON Schema of what receipts say: `python -m vitrine_common.receipts.schema` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from vitrine_common.receipts.predicates import CLAIM_TYPE, RUN_TYPE, ClaimStatement, RunStatement

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def statement_schema() -> dict[str, Any]:
    """Return the schema of the statement in a receipt's payload: of a run, or of a checked claim."""
    models = [(RunStatement, "serialization"), (ClaimStatement, "serialization")]
    _, schema = models_json_schema(models, title="Receipt")  # type: ignore[arg-type] # the modes are literals
    definitions = schema["$defs"]
    for name, kind in (("RunStatement", RUN_TYPE), ("ClaimStatement", CLAIM_TYPE)):
        definitions[name]["properties"]["predicateType"] = {"const": kind}
    return {
        "$schema": DIALECT,
        "$id": "urn:vitrine:receipt",
        "title": "Receipt",
        "description": "The in-toto Statement (v1) in the payload of a receipt's DSSE envelope.",
        "oneOf": [{"$ref": "#/$defs/RunStatement"}, {"$ref": "#/$defs/ClaimStatement"}],
        "$defs": definitions,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(statement_schema(), indent=2) + "\n")
