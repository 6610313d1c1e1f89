"""What is wrong with a `vitrine.yaml`, said so that its author can mend it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitrine_common.errors import Invalid, Problem


@dataclass(frozen=True)
class SpecProblem(Problem):
    """One thing that is wrong with the file, where it stands, and what to write instead.

    `field` is a path such as `inputs[0].tensor.size`, empty for the file as a whole; `message` says what
    is wrong and ends with the advice.
    """

    file: str = "vitrine.yaml"
    line: int | None = None
    """Line of the key, counted from 1; None where there is none."""

    def __str__(self) -> str:
        place = self.file + (f" line {self.line}" if self.line else "")
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class SpecError(Invalid):
    """A `vitrine.yaml` cannot be accepted; `problems` has at least one `SpecProblem`, in order of lines."""

    title = "The model file is not valid"

    def __init__(self, problems: Sequence[SpecProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems), tuple(problems))


def sentence(message: str, advice: str) -> str:
    """Join what is wrong and what to write instead."""
    return f"{message}; {advice}" if advice else message
