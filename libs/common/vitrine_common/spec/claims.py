"""`claims:` in `vitrine.yaml`: the numbers of a paper, and how each of them is come by."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from vitrine_common.digests import DIGEST_PATTERN
from vitrine_common.paths import DirectoryPath, normalise_path
from vitrine_common.spec.base import Section
from vitrine_common.spec.quantities import Size
from vitrine_common.spec.sections import Command, Resources

CLAIM_NAME: Final = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
DATASET_NAME: Final = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
MAX_CLAIMS = 50
MAX_REPEATS = 20
MAX_OWN_FILES = 20
MAX_OWN_BYTES = 64 << 20
STDOUT: Final = "stdout"
_PERCENT = re.compile(r"^\s*(\d{1,9}(?:\.\d{1,12})?)\s*%\s*$")
_VERSION = re.compile(r"^[1-9]\d{0,8}$")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a measured value may be from the expected one, both ends included."""

    amount: float
    relative: bool = False
    """Whether `amount` is a share of the expected value rather than a distance."""

    def around(self, expected: float) -> float:
        """Return the distance that is allowed around `expected`."""
        return abs(expected) * self.amount if self.relative else self.amount


def parse_tolerance(value: object) -> Tolerance:
    """Read `0.005` (a distance) or `5%` (a share of the expected value). Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or value < 0:
            raise ValueError("must be 0 or more; write a distance such as `0.005`, or a share such as `5%`")
        return Tolerance(float(value))
    matched = _PERCENT.match(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError("is no tolerance; write a distance such as `0.005`, or a share such as `5%`")
    return Tolerance(float(matched[1]) / 100, relative=True)


def _checked_tolerance(value: object) -> object:
    parse_tolerance(value)
    return value


@dataclass(frozen=True, slots=True)
class DatasetReference:
    """A pushed dataset of the version's owner: by number, or by the digest of its manifest."""

    name: str
    version: str

    @property
    def is_digest(self) -> bool:
        """Whether `version` is a digest."""
        return self.version.startswith("sha256:")

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def parse_dataset_reference(text: str) -> DatasetReference | None:
    """Read `name@2` or `name@sha256:…` (`data/name@2` is the same); None for a path. Raises ValueError."""
    if "@" not in text or text.startswith("./"):
        return None
    name, _, version = text.removeprefix("data/").partition("@")
    if re.fullmatch(DATASET_NAME, name) is None:
        raise ValueError(
            f"`{text[:80]}` names no dataset: write `name@2` or `name@sha256:…` as `vitrine data push` "
            "prints it, or `./path` for a file of the bundle"
        )
    if _VERSION.match(version) is None and re.fullmatch(DIGEST_PATTERN, version) is None:
        raise ValueError(
            f"`{text[:80]}` has no version: write its number (`{name}@1`) or its whole digest "
            f"(`{name}@sha256:…`), so that the claim stays the same"
        )
    return DatasetReference(name, version)


def _checked_dataset(text: str) -> str:
    reference = parse_dataset_reference(text)
    if reference is not None:
        return str(reference)
    path = normalise_path(text)
    return f"./{path}" if "@" in path else path


class Metric(Section):
    """Where the command leaves the number: a key of a JSON file that it writes, or of what it prints."""

    file: Annotated[str, Field(max_length=1024)] = STDOUT
    """JSON file that the command writes; `stdout` is the last line of JSON that it prints."""
    key: str = Field(default="", max_length=300)
    """Path to the number, with dots: `test.accuracy`, `folds.0.f1`; empty where the JSON is the number."""

    @field_validator("file")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        if any(character in value for character in "*?["):
            raise ValueError(f"`{value[:80]}` is a pattern; name one file")
        path = value if value == STDOUT else normalise_path(value)
        if path == ".":
            raise ValueError("names the directory itself; name a file")
        return path

    @property
    def keys(self) -> tuple[str, ...]:
        """The parts of `key`."""
        return tuple(self.key.split(".")) if self.key else ()


def _metric(value: object) -> object:
    """Read `accuracy` as a key of what is printed, `result.json:accuracy` as a key of a file."""
    if not isinstance(value, str):
        return value
    file, colon, key = value.rpartition(":")
    return {"file": file, "key": key} if colon else {"key": value}


class Extension(Section):
    """That whoever checks the claim may add files of their own to its dataset, and where they go."""

    path: DirectoryPath = "."
    """Directory of the dataset that the files are put into."""
    max_files: int = Field(default=5, ge=1, le=MAX_OWN_FILES)
    """Most files of one check."""
    max_bytes: Size = Field(default=10 << 20, le=MAX_OWN_BYTES)
    """Most bytes of one file."""
    accept: list[Annotated[str, Field(pattern=r"^\.[A-Za-z0-9]{1,15}$")]] = Field(
        default_factory=list, max_length=20
    )
    """Suffixes that are taken, such as `.png`; without them any file."""
    label: str | None = Field(default=None, min_length=1, max_length=100)
    """What is asked for each file, such as `The digit that it shows`. `own.json` beside the files says for
    each file's name what was answered, or null."""


class Claim(Section):
    """One number of the paper: what is claimed, and the command and dataset that produce it."""

    name: str = Field(pattern=CLAIM_NAME)
    """Name of the claim: lower-case letters, digits and dashes."""
    statement: str = Field(min_length=1, max_length=1000)
    """What is claimed, in a sentence of plain text."""
    command: Command
    """Command line, run in the bundle; it is split like a shell would, but no shell runs it."""
    dataset: Annotated[str, Field(max_length=1024), AfterValidator(_checked_dataset)] | None = None
    """`name@2` or `name@sha256:…` of a dataset that was pushed, or a path in the bundle."""
    metric: Annotated[Metric, BeforeValidator(_metric)] = Field(default_factory=Metric)
    """Where the number is read, or only its key in the last line of JSON that the command prints."""
    expected: float = Field(ge=-1e300, le=1e300)
    """The number that the paper states."""
    tolerance: Annotated[float | str, BeforeValidator(_checked_tolerance)] = 0.0
    """How far the measured number may be from it: a distance (`0.005`) or a share (`5%`)."""
    direction: Literal["higher", "lower"] | None = None
    """Which side is better: a number beyond the tolerance on that side is reproduced as well."""
    repeats: int = Field(default=1, ge=1, le=MAX_REPEATS)
    """How often the command is run, each time afresh; the mean is compared."""
    unit: str | None = Field(default=None, max_length=20)
    """Unit of the number, such as `%` or `dB`."""
    row: str | None = Field(default=None, min_length=1, max_length=80)
    """Label of the row in the table of claims, such as the method; the name without it."""
    column: str | None = Field(default=None, min_length=1, max_length=80)
    """Label of the column, such as the metric or test set."""
    resources: Resources = Field(default_factory=Resources)
    """What one repeat may use; `resources` of the model where it says nothing."""
    extend: Extension | None = None
    """Lets whoever checks the claim add files of their own."""

    @model_validator(mode="after")
    def _extends_a_dataset(self) -> Self:
        if self.extend is not None and self.dataset is None:
            raise ValueError("has `extend` but no `dataset` that could be extended; name the dataset")
        return self

    @property
    def pushed_dataset(self) -> DatasetReference | None:
        """The dataset that was pushed by itself, where the claim names one."""
        return parse_dataset_reference(self.dataset) if self.dataset else None

    @property
    def bundle_path(self) -> str | None:
        """The file or directory of the bundle that is the dataset, where the claim names one."""
        return normalise_path(self.dataset) if self.dataset and self.pushed_dataset is None else None

    @property
    def allowance(self) -> Tolerance:
        """The tolerance as it was written."""
        return parse_tolerance(self.tolerance)

    def plain(self) -> dict[str, Any]:
        """Return the claim as plain JSON values, as it is written in the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


Claims = Annotated[list[Claim], Field(max_length=MAX_CLAIMS)]
