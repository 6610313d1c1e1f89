"""What a receipt proves and what it does not, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrine_api import views
from vitrine_common.receipts import commitments
from vitrine_common.receipts.commitments import Domain
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.openings import Opening, named_digests, open_receipt
from vitrine_common.receipts.predicates import (
    ClaimPredicate,
    ClaimStatement,
    DigestSet,
    RunPredicate,
    RunStatement,
)
from vitrine_common.receipts.verification import Fault, Verification

Statement = RunStatement | ClaimStatement
_TITLES: Mapping[Fault, str] = {
    Fault.MALFORMED: "This is not a receipt, or not as it was issued",
    Fault.UNKNOWN_KEY: "This instance did not sign it",
    Fault.BAD_SIGNATURE: "The signature does not fit",
    Fault.KEY_REVOKED: "Its key can no longer be trusted",
    Fault.KEY_OUT_OF_DATE: "Its key was not in use when it says it was issued",
    Fault.OTHER_KEY_NAMED: "It names another key than the one that signed it",
}
_UNPROVEN = (
    "That the result is right, or that the model is good: only that this code gave it here.",
    "That the platform is honest: it is the platform's word, and cannot be altered after it was given.",
    "What the author's words in it say, such as the text of a claim.",
)
_GIB = 1 << 30


def finding(verification: Verification, opening: Opening | None, file: str | None) -> views.Finding:
    """Return what the page says of a receipt.

    Args:
        verification: of the receipt.
        opening: of a blind link, where one was given.
        file: digest of a file to look for, where one was given.
    """
    statement = verification.statement
    if verification.fault is not None or statement is None:
        title = _TITLES[verification.fault or Fault.MALFORMED]
        return views.Finding(valid=False, title=title, message=verification.message)
    opened, words = _opened(statement, opening)
    evidence = _Evidence(opened, opening.key if opening and opened else None, file)
    rows = tuple(_row(domain, name, digest, evidence) for domain, name, digest in named_digests(statement))
    matches = any(row.matches for row in rows)
    return views.Finding(
        valid=True,
        title=_title(statement),
        message="Signed by this instance, and unchanged since.",
        facts=_facts(statement),
        digests=rows,
        proven=_proven(statement),
        unproven=_UNPROVEN,
        file=_file_words(statement, rows, opening) if file else "",
        file_matches=matches,
        opening=words,
    )


def _title(statement: Statement) -> str:
    told = statement.predicate
    if isinstance(told, RunPredicate):
        return "A run that succeeded" if told.verdict == "succeeded" else "A run that failed"
    return {
        "reproduced": "A claim that was reproduced",
        "differs": "A claim that came out differently",
    }.get(told.verdict, "A claim whose check failed")


def _facts(statement: Statement) -> tuple[views.Fact, ...]:
    told = statement.predicate
    hardware = told.hardware
    memory = f"{hardware.memory_bytes / _GIB:.0f} GB" if hardware and hardware.memory_bytes else None
    cores = f"{hardware.cores} cores" if hardware and hardware.cores else None
    machine = [hardware.cpu, cores, memory, *hardware.gpus] if hardware else []
    rows: list[tuple[str, str | None]] = [
        ("Issued by", told.instance.url),
        ("Issued", told.issued_at),
        ("Key", told.instance.key_id),
        ("Run" if isinstance(told, RunPredicate) else "Check", _subject_id(told)),
        *_result(told),
        ("Model", told.bundle.name if told.commitments is None else "not told: the link was blind"),
        ("Python", told.environment.python),
        ("Engine", told.engine),
        ("Platform", told.platform),
        ("Hardware", ", ".join(part for part in machine if part) or None),
    ]
    return tuple(views.Fact(title=title, value=value, code=title == "Key") for title, value in rows if value)


def _subject_id(told: RunPredicate | ClaimPredicate) -> str:
    return told.run_id if isinstance(told, RunPredicate) else told.check_id


def _result(told: RunPredicate | ClaimPredicate) -> list[tuple[str, str | None]]:
    milliseconds = told.timing.total_ms
    took = f"{milliseconds / 1000:.3g} s" if milliseconds is not None else None
    if isinstance(told, RunPredicate):
        why = f" ({told.reason.replace('_', ' ')})" if told.reason else ""
        return [("Result", told.verdict + why), ("Took", took)]
    claimed = f"{told.expected:g}" if told.expected is not None else None
    margin = f" ± {told.tolerance:g}" if claimed and told.tolerance is not None else ""
    measured = f"{told.measured:g}" if told.measured is not None else None
    spread = f" (spread {told.spread:g})" if measured and told.spread is not None else ""
    return [
        ("Result", told.verdict),
        ("Claimed", claimed and claimed + margin),
        ("Measured", measured and measured + spread),
        ("Repeats", str(len(told.runs))),
        ("Took", took),
    ]


def _proven(statement: Statement) -> tuple[str, ...]:
    told = statement.predicate
    ended = "ended as it says" if isinstance(told, RunPredicate) else "came to this verdict"
    common = (
        f"{told.instance.url} issued it at {told.issued_at}; not a byte was changed since.",
        f"The code, packages and inputs named below {ended}, on the hardware named above.",
    )
    if told.commitments is None:
        return (*common, "Whoever has one of these files can tell that it is the very one, by its digest.")
    return (
        *common,
        "Digests are not told, so that a blind link stays blind; the author can show later what they were.",
    )


def _opened(statement: Statement, opening: Opening | None) -> tuple[dict[str, str], str]:
    """Return the digests behind commitments, and what is to be said of the opening."""
    if opening is None:
        return {}, ""
    try:
        found = open_receipt(statement, opening)
    except Malformed as error:
        return {}, f"The opening does not fit: {error.message}."
    fitting = {item.commitment: item.claimed.digest for item in found if item.claimed is not None}
    return fitting, f"The opening fits: it shows {len(fitting)} of {len(found)} digests."


@dataclass(frozen=True)
class _Evidence:
    """What was given besides the receipt."""

    opened: Mapping[str, str]
    """Digests by the commitments that were shown to stand for them."""
    key: bytes | None
    file: str | None

    def is_file(self, domain: Domain, value: str) -> bool:
        """Tell whether a digest or commitment is that of the file."""
        if self.file is None or not value.startswith(commitments.PREFIX):
            return self.file == value
        return self.key is not None and commitments.commit(self.key, domain, self.file) == value


def _row(domain: Domain, name: str, digest: DigestSet, evidence: _Evidence) -> views.NamedDigest:
    committed = digest.get(commitments.ALGORITHM)
    plain = f"sha256:{digest.get('sha256', '')}"
    value = plain if committed is None else commitments.PREFIX + committed
    matches = evidence.is_file(domain, value)
    return views.NamedDigest(
        kind=domain,
        name=name,
        value=value,
        blind=committed is not None,
        opened=evidence.file if matches and committed else evidence.opened.get(value),
        matches=matches,
    )


def _file_words(statement: Statement, rows: Sequence[views.NamedDigest], opening: Opening | None) -> str:
    named = [
        f"the {row.kind} {row.name!r}" if row.name != row.kind else f"the {row.kind}"
        for row in rows
        if row.matches
    ]
    if named:
        return f"The file is {', '.join(named)} of this receipt, byte for byte."
    if statement.predicate.commitments is not None and opening is None:
        return "The receipt is blind: to compare a file, give the link's opening as well."
    return "The file is none of those that this receipt names."
