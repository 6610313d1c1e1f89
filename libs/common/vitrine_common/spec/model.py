"""The model of `vitrine.yaml`, and what follows from it.

The schema of the file published in the field's literature (`model`, `package`, `language` …) is taken as
it stands; Vitrine's own keys (`inputs`, `outputs`, `onnx`, `predictor`, `mlflow`, `resources`, `scaling`,
`train`, `claims`, `model_card`) extend it.
"""

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from vitrine_common.paths import DirectoryPath, FilePath
from vitrine_common.spec.base import ModelKind, Section
from vitrine_common.spec.claims import Claim, Claims
from vitrine_common.spec.files import named_files
from vitrine_common.spec.harness import harness_form
from vitrine_common.spec.inputs import Input
from vitrine_common.spec.interface import effective_inputs, effective_outputs, interface_fault
from vitrine_common.spec.outputs import Output
from vitrine_common.spec.requests import DEFAULT_LIMITS, EnvironmentRequest, Limits
from vitrine_common.spec.sections import Package, Predictor, Resources, Scaling, ScriptModel, Train

LANGUAGE = "python-3.11"
MODEL_NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"


class Spec(Section):
    """A `vitrine.yaml`. It says what runs: `model` with a command, `predictor`, `onnx` or `mlflow`."""

    name: str = Field(pattern=MODEL_NAME)
    """Name of the model: lower-case letters, digits, dots, dashes and underscores."""
    language: str = LANGUAGE
    """Interpreter; `python-3.11` is to be had."""
    framework: str | None = Field(default=None, max_length=100)
    """Framework, as information for readers."""
    description: str | None = Field(default=None, max_length=10_000)
    """What the model does, in a sentence or two."""
    version: str | None = Field(default=None, max_length=100)
    """The author's own version label."""
    model: ScriptModel | None = None
    """A model that is run by a command."""
    onnx: FilePath | None = None
    """A model that is an ONNX file and needs no code."""
    predictor: Predictor | None = None
    """A class with `setup` and `predict`, or a function: `predict.py:Predictor`."""
    mlflow: DirectoryPath | None = None
    """A model that is a directory saved by MLflow, with its `MLmodel` and requirements."""
    package: Package = Field(default_factory=Package)
    """The packages that the model needs."""
    inputs: list[Input] | None = Field(default=None, max_length=100)
    """Typed inputs, as a list or as a mapping from names."""
    outputs: list[Output] | None = Field(default=None, max_length=100)
    """Typed outputs, as a list or as a mapping from names."""
    resources: Resources = Field(default_factory=Resources)
    """What one run may use."""
    scaling: Scaling = Field(default_factory=Scaling)
    """How many workers are kept."""
    train: Train | None = None
    """How the model is trained."""
    claims: Claims | None = None
    """The numbers of the paper, which whoever has a link can have reproduced."""
    model_card: str | None = Field(default=None, max_length=100_000)
    """Markdown for the reader, or the bundle's file that holds it (`MODEL_CARD.md`)."""

    @field_validator("inputs", "outputs", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        """Read a mapping from names, and `prompt: text` as `prompt: {type: text}`."""
        if not isinstance(value, dict):
            return value
        return [_named(name, definition) for name, definition in value.items()]

    @field_validator("inputs", "outputs", "claims")
    @classmethod
    def _names_differ(cls, value: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        seen: set[str] = set()
        for item in value or []:
            key = item.name.lower().replace("-", "_")
            if key in seen:
                raise ValueError(f"two {info.field_name} are named `{item.name}`; use another name")
            seen.add(key)
        return value

    @field_validator("language")
    @classmethod
    def _is_to_be_had(cls, value: str) -> str:
        if value != LANGUAGE:
            raise ValueError(f"`{value}` is not to be had on this platform; write `{LANGUAGE}`")
        return value

    @model_validator(mode="after")
    def _runs(self) -> Self:
        kinds = [key for key in ("model", "onnx", "predictor", "mlflow") if getattr(self, key) is not None]
        if len(kinds) > 1:
            raise ValueError(f"has both `{kinds[0]}` and `{kinds[1]}`; keep the one that is to be run")
        if kinds in ([], ["model"]) and (self.model is None or not self.model.command + self.model.exec_cmd):
            raise ValueError(
                "does not say what runs; write `model: {command: python predict.py}`, "
                "`predictor: predict.py:Predictor` or `onnx: model.onnx`"
            )
        if self.scaling.batching is not None and self.predictor is None:
            raise ValueError("has `scaling.batching`, which only predictors can do; remove it")
        fault = interface_fault(self)
        if fault:
            raise ValueError(fault)
        return self

    def kind(self) -> ModelKind:
        """Return how this model is run."""
        for kind in (ModelKind.ONNX, ModelKind.PREDICTOR, ModelKind.MLFLOW):
            if getattr(self, kind.value) is not None:
                return kind
        return ModelKind.SCRIPT

    def predictor_file(self) -> str | None:
        """Return the bundle's file that holds the predictor."""
        return self.predictor.rpartition(":")[0] if self.predictor else None

    def mlflow_file(self) -> str | None:
        """Return the bundle's file that describes the MLflow model."""
        if self.mlflow is None:
            return None
        return "MLmodel" if self.mlflow == "." else f"{self.mlflow}/MLmodel"

    def effective_inputs(self) -> list[Input]:
        """Return the declared inputs, or those that follow from `model.input` or from the ONNX file."""
        return effective_inputs(self)

    def effective_outputs(self) -> list[Output]:
        """Return the declared outputs, or those that follow from `model.output` or from the ONNX file."""
        return effective_outputs(self)

    def limits(self, defaults: Limits = DEFAULT_LIMITS, ceiling: Limits | None = None) -> Limits:
        """Return what one run may use: `resources` over `defaults`, cut to `ceiling`."""
        return resource_limits(self.resources, defaults, ceiling)

    def claim_limits(
        self, claim: Claim, defaults: Limits = DEFAULT_LIMITS, ceiling: Limits | None = None
    ) -> Limits:
        """Return what one repeat of a claim may use: its `resources` over those of the model."""
        return resource_limits(claim.resources, self.limits(defaults), ceiling)

    def claim(self, name: str) -> Claim | None:
        """Return the claim of that name, or None."""
        return next((claim for claim in self.claims or () if claim.name == name), None)

    def train_limits(self, defaults: Limits = DEFAULT_LIMITS, ceiling: Limits | None = None) -> Limits:
        """Return what a training may use: `train.resources` over `defaults`, cut to `ceiling`."""
        return resource_limits(self.train.resources if self.train else Resources(), defaults, ceiling)

    def environment_request(self) -> EnvironmentRequest:
        """Return the packages that runs need."""
        own = self.package
        bare = own.type == "apt" or (own.requirements_file is None and own.requirements is None)
        preset: Literal["onnx"] | None = "onnx" if self.kind() is ModelKind.ONNX and bare else None
        return self._packages(own.requirements_file, preset)

    def train_environment_request(self) -> EnvironmentRequest:
        """Return the packages that the training needs; without a list of its own, those of `package`."""
        own = self.train.requirements_file if self.train else None
        wanted = self._packages(self.package.requirements_file, None)
        return wanted if own is None else replace(wanted, requirements_file=own, requirements=(), extras=())

    def _packages(self, file: str | None, preset: Literal["onnx"] | None) -> EnvironmentRequest:
        python = self.language.removeprefix("python-")
        listed, system = tuple(self.package.requirements or ()), tuple(self.package.system)
        if self.package.type == "apt":
            return EnvironmentRequest(
                python, "pip", None, preset, system=(*system, *listed), system_file=file
            )
        extras = tuple(self.package.extras)
        return EnvironmentRequest(python, "pip", file, preset, listed, extras, system)

    def warnings(self) -> list[str]:
        """Return what the author should know although the file is accepted."""
        found = []
        is_conda_file = (self.package.requirements_file or "").endswith((".yml", ".yaml"))
        if self.package.type == "conda" and not is_conda_file:
            found.append(
                "package.type conda: the requirements are installed with pip; `conda activate` does nothing"
            )
        return found

    def model_card_file(self) -> str | None:
        """Return the bundle's file that holds the model card, or None when the card is given as text."""
        card = (self.model_card or "").strip()
        is_path = card.lower().endswith((".md", ".txt")) and "\n" not in card and " " not in card
        return card.removeprefix("./") if is_path else None

    def named_files(self) -> dict[str, str]:
        """Return the files of the bundle that must exist: field → path. Trained files are not among them."""
        return named_files(self)

    def to_harness(self, directories: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the plain form that the harness in the sandbox reads; see `harness.harness_form`.

        `directories` are those of the bundle: `model.path` is the working directory when it is one of them.
        """
        return harness_form(self, directories)

    def plain(self) -> dict[str, Any]:
        """Return the file as plain JSON values with only the keys that were written."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def resource_limits(resources: Resources, defaults: Limits, ceiling: Limits | None) -> Limits:
    """Return `resources` over `defaults`, each value cut to that of `ceiling`."""

    def pick(key: str) -> Any:
        asked = getattr(resources, key)
        value = getattr(defaults, key) if asked is None else asked
        return value if ceiling is None else min(value, getattr(ceiling, key))

    picked = {key: pick(key) for key in ("cpu", "memory", "gpu", "timeout", "disk", "processes")}
    # A need, not a limit: what no GPU has is refused instead of cut.
    return Limits(**picked, gpu_memory=resources.gpu_memory or 0)


def _named(name: object, definition: object) -> object:
    if isinstance(definition, str):
        return {"name": name, "type": definition}
    if isinstance(definition, dict):
        if definition.get("name", name) != name:
            raise ValueError(f"`{name}` has another `name`, `{definition['name']}`; remove it")
        return {"name": name, **definition}
    return definition
