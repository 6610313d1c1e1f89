"""What every form of requirements becomes, and what is said about one that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from vitrine_common.digests import sha256_bytes

MAX_REQUIREMENTS = 1_000


def place_of(name: str, line: int) -> str:
    """Return where line `line` of the requirements `name` is: a list in a model file has entries."""
    return f"{name} {'entry' if name.startswith('package.') else 'line'} {line}"


class RequirementsError(Exception):
    """A requirements file that cannot be used as it is.

    Attributes:
        line: number of the culprit's first line, from 1; None when it is the file as a whole.
        problem: what is wrong, naming the culprit.
        remedy: what to write instead.
    """

    def __init__(self, name: str, line: int | None, problem: str, remedy: str) -> None:
        where = place_of(name, line) if line else name
        super().__init__(f"{where}: {problem}; {remedy}")
        self.line = line
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True)
class RequirementLine:
    """One requirement: its first line's number, its name (PEP 503), its text (PEP 508), hashes allowed."""

    line: int
    name: str
    text: str
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CondaPart:
    """What only conda can provide: match specifications (`r-base=4.4`) with the lines that name them."""

    specs: tuple[tuple[int, str], ...]
    channels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The part as text that does not depend on the order of its packages."""
        specs = sorted({spec for _line, spec in self.specs})
        return "".join(f"conda {spec}\n" for spec in specs) + "".join(
            f"channel {channel}\n" for channel in self.channels
        )


@dataclass(frozen=True)
class Requirements:
    """Accepted requirements. `text` and `digest` do not depend on order, comments or spacing.

    Attributes:
        exact: the lines are complete (a lock): nothing that they depend on is added.
        conda: what conda has to provide below the lines; None for most.
    """

    lines: tuple[RequirementLine, ...]
    name: str = "requirements.txt"
    exact: bool = False
    conda: CondaPart | None = None
    text: str = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        unique = sorted({" ".join([line.text, *_hash_options(line)]) for line in self.lines})
        text = "".join(f"{line}\n" for line in unique)
        object.__setattr__(self, "text", text)
        more = ("exact\n" if self.exact else "") + (self.conda.text if self.conda else "")
        object.__setattr__(self, "digest", sha256_bytes((more + text).encode()))

    def find(self, name: str) -> RequirementLine | None:
        """Return the first line that requires the package `name`, or None."""
        wanted = canonicalize_name(name)
        return next((line for line in self.lines if line.name == wanted), None)


def decode(data: bytes, name: str, max_bytes: int) -> str:
    """Return the text of a file that somebody else wrote.

    Raises:
        RequirementsError: it is too large, or no UTF-8 text.
    """
    if len(data) > max_bytes:
        problem = f"the file has {len(data)} bytes, and {max_bytes} are allowed"
        raise RequirementsError(name, None, problem, "name only what your code imports")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RequirementsError(name, None, "the file is UTF-16", "save it as UTF-8")
    if b"\0" in data:
        raise RequirementsError(name, None, "the file has a NUL byte", "write plain UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RequirementsError(name, line, "the line is not UTF-8", "save the file as UTF-8") from None


def _hash_options(line: RequirementLine) -> list[str]:
    return [f"--hash={value}" for value in sorted(set(line.hashes))]
