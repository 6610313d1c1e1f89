"""The model of `vitrine.yaml`: parsing, checks, what follows from it, and the values of a run."""

from vitrine_common.spec.base import ModelKind
from vitrine_common.spec.claims import Claim, DatasetReference, Extension, Metric, Tolerance
from vitrine_common.spec.errors import SpecError, SpecProblem
from vitrine_common.spec.inputs import (
    BooleanInput,
    ChoiceInput,
    FileInput,
    ImageInput,
    Input,
    JsonInput,
    NumberInput,
    TextInput,
)
from vitrine_common.spec.invocation import Invocation, PlacedFile, file_suffix, invocation, parse_output
from vitrine_common.spec.model import Spec
from vitrine_common.spec.outputs import STDOUT, Output, OutputType
from vitrine_common.spec.parsing import load_spec
from vitrine_common.spec.requests import DEFAULT_LIMITS, EnvironmentRequest, Limits
from vitrine_common.spec.sections import Batching, Package, Resources, Scaling, ScriptModel, Train
from vitrine_common.spec.tensors import InputTensor, OutputTensor
from vitrine_common.spec.values import FileValue, coerce_inputs

__all__ = [
    "DEFAULT_LIMITS",
    "STDOUT",
    "Batching",
    "BooleanInput",
    "ChoiceInput",
    "Claim",
    "DatasetReference",
    "EnvironmentRequest",
    "Extension",
    "FileInput",
    "FileValue",
    "ImageInput",
    "Input",
    "InputTensor",
    "Invocation",
    "JsonInput",
    "Limits",
    "Metric",
    "ModelKind",
    "NumberInput",
    "Output",
    "OutputTensor",
    "OutputType",
    "Package",
    "PlacedFile",
    "Resources",
    "Scaling",
    "ScriptModel",
    "Spec",
    "SpecError",
    "SpecProblem",
    "TextInput",
    "Tolerance",
    "Train",
    "coerce_inputs",
    "file_suffix",
    "invocation",
    "load_spec",
    "parse_output",
]
