"""Claims as the paper's table, and checks with their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitrine_api import formats, views
from vitrine_api.claims.checks import CheckRecord
from vitrine_api.claims.describing import duration_of
from vitrine_api.claims.repository import Tally
from vitrine_api.claims.sight import ClaimSight
from vitrine_api.progress import Change
from vitrine_common.documents import CheckDataset, ClaimCheck, Repeat
from vitrine_common.spec import Claim
from vitrine_common.states import VERDICTS, ClaimState

_LOG_TAIL = 8000
NO_DATASET = "Its author has not pushed the dataset yet; until then it cannot be checked."
OWN_FIELDS = 5
"""Most file fields that a form shows."""


@dataclass(frozen=True)
class ClaimReader:
    """Who looks at checks: a visitor by a link (`place` is where its pages begin), or their owner."""

    sight: ClaimSight
    place: str = ""

    @property
    def base(self) -> str:
        """Where the addresses of checks begin."""
        return f"{self.place}/claims/checks"


@dataclass(frozen=True)
class ClaimNews:
    """What is known of one claim."""

    claim: Claim
    dataset: CheckDataset | None = None
    tally: Tally | None = None
    last: ClaimCheck | None = None
    own: CheckRecord | None = None
    """The reader's newest check of it, on the claim's own dataset."""


def claims_table(
    news: Sequence[ClaimNews],
    reader: ClaimReader,
    *,
    can_check: bool,
    checks: Sequence[CheckRecord] = (),
    reference: str = "",
) -> views.ClaimsTable | None:
    """Return the claims laid out by their `row` and `column`; None for a version without claims."""
    if not news:
        return None
    columns = tuple(dict.fromkeys(item.claim.column or "" for item in news))
    rows = dict.fromkeys(item.claim.row or item.claim.name for item in news)
    entries = {item.claim.name: _entry(item, reader) for item in news}
    return views.ClaimsTable(
        columns=columns,
        rows=tuple(
            views.ClaimsRow(
                title=row,
                cells=tuple(
                    tuple(
                        entries[item.claim.name]
                        for item in news
                        if (item.claim.row or item.claim.name, item.claim.column or "") == (row, column)
                    )
                    for column in columns
                ),
            )
            for row in rows
        ),
        entries=tuple(entries.values()),
        start_url=reader.base,
        reference=reference,
        can_check=can_check,
        checks=tuple(check_row(record, reader) for record in checks),
    )


def _entry(news: ClaimNews, reader: ClaimReader) -> views.ClaimEntry:
    claim, extend = news.claim, news.claim.extend
    check, note = _shown_check(news, reader)
    return views.ClaimEntry(
        name=claim.name,
        statement=claim.statement,
        expected=formats.number(claim.expected),
        tolerance=tolerance_words(claim),
        unit=claim.unit or "",
        verdict=check.state.value if check else "",
        measured=formats.number(check.measured) if check and check.measured is not None else "",
        note=note,
        tally=tally_words(news.tally) if reader.sight.shows_history else "",
        dataset=dataset_words(news.dataset, reader.sight),
        repeats=claim.repeats,
        extend=views.ClaimExtend(
            max_files=min(extend.max_files, OWN_FIELDS),
            max_bytes=extend.max_bytes,
            accept=",".join(extend.accept),
            label=extend.label or "",
        )
        if extend
        else None,
        check_url=f"{reader.base}/{news.own.request.id}" if news.own else "",
        unavailable=NO_DATASET if claim.pushed_dataset and news.dataset is None else "",
    )


def _shown_check(news: ClaimNews, reader: ClaimReader) -> tuple[ClaimCheck | None, str]:
    """Return the check whose verdict the table shows: the reader's own, else the newest of anybody."""
    own = news.own.check if news.own else None
    if own is not None and own.state in VERDICTS:
        return own, "your check" if reader.place else "your newest check"
    if news.last is not None and reader.sight.shows_history:
        return news.last, f"checked {formats.day(news.last.finished_at)}"
    return None, ""


def tolerance_words(claim: Claim) -> str:
    """Write a tolerance: `± 0.01`, `± 5 %, or higher`, `exactly`."""
    allowed = claim.allowance
    amount = formats.number(round(allowed.amount * 100, 12) if allowed.relative else allowed.amount)
    words = f"± {amount}{' %' if allowed.relative else ''}" if allowed.amount else "exactly"
    return f"{words}, or {claim.direction}" if claim.direction else words


def tally_words(tally: Tally | None) -> str:
    """Write how checks ended: `Reproduced in 4 of 5 checks, the last on 3 March 2026`."""
    if tally is None or not tally.total:
        return "Not checked yet"
    good, total = tally.counts.get(ClaimState.REPRODUCED, 0), tally.total
    words = f"Reproduced in {good} of {total} {'check' if total == 1 else 'checks'}"
    return f"{words}, the last on {formats.day(tally.last)}" if tally.last else words


def dataset_words(dataset: CheckDataset | None, sight: ClaimSight) -> str:
    """Name a claim's dataset as the reader may know it."""
    if dataset is None:
        return ""
    name = sight.dataset_name(dataset) or "a dataset of the author's"
    return f"{name} (private)" if dataset.private else name


def check_row(record: CheckRecord, reader: ClaimReader) -> views.CheckRow:
    """Return a check as a row of a list."""
    check = record.check
    numbers = check is not None and reader.sight.shows_numbers(record)
    measured = check.measured if check and numbers else None
    return views.CheckRow(
        id=record.request.id,
        claim=record.request.claim_name,
        state=record.state.value,
        created_at=record.request.created_at,
        url=f"{reader.base}/{record.request.id}",
        measured=formats.number(measured) if measured is not None else "",
        source="link" if record.request.link_id else "you",
        own_inputs=len(record.request.own_inputs),
    )


def check_view(record: CheckRecord, reader: ClaimReader) -> views.CheckView:
    """Return a check as its page shows it to the reader."""
    request, check, claim, sight = record.request, record.check, record.claim, reader.sight
    numbers = check is not None and sight.shows_numbers(record)
    texts = sight.shows_texts(record)
    measured = check.measured if check and numbers else None
    spread = check.spread if check and numbers else None
    verdict = record.state.value if record.state in VERDICTS and numbers else ""
    may_open = sight.may_open(record)
    url = f"{reader.base}/{request.id}"
    return views.CheckView(
        id=request.id,
        claim=claim.name,
        statement=claim.statement,
        state=record.state.value,
        created_at=request.created_at,
        url=url,
        expected=formats.number(claim.expected),
        tolerance=tolerance_words(claim),
        unit=claim.unit or "",
        verdict=verdict,
        measured=formats.number(measured) if measured is not None else "",
        spread=formats.number(spread) if spread is not None else "",
        difference=_difference(measured, claim),
        repeats=_repeats(check.repeats, texts=texts) if check and numbers else (),
        repeats_wanted=claim.repeats,
        repeat=min(claim.repeats, len(check.repeats) + 1) if check else 0,
        ahead=record.ahead,
        reason=check.reason.value if check and check.reason else None,
        message=check.message if check and texts else "",
        own_inputs=_own(record) if may_open else (),
        own_inputs_count=len(request.own_inputs),
        facts=_facts(record, sight) if record.final else (),
        receipt_url=f"{url}/receipt" if verdict and may_open else "",
        can_cancel=may_open and not record.final,
        by_link=bool(reader.place),
    )


def _difference(measured: float | None, claim: Claim) -> str:
    if measured is None:
        return ""
    gap = measured - claim.expected
    return f"{'+' if gap > 0 else ''}{formats.number(float(f'{gap:.6g}'))}"


def _repeats(repeats: Sequence[Repeat], *, texts: bool) -> tuple[views.RepeatRow, ...]:
    return tuple(
        views.RepeatRow(
            number=number,
            value=formats.number(repeat.value) if repeat.value is not None else "",
            duration_ms=repeat.duration_ms,
            peak_memory_bytes=repeat.peak_memory_bytes,
            reason=repeat.reason.value.replace("_", " ") if repeat.reason else "",
            message=repeat.message if texts else "",
            log_tail=repeat.log_tail if texts else "",
        )
        for number, repeat in enumerate(repeats, 1)
    )


def _own(record: CheckRecord) -> tuple[views.OwnInputRow, ...]:
    return tuple(
        views.OwnInputRow(filename=item.filename, size=item.size, label=item.label or "")
        for item in record.request.own_inputs
    )


def _facts(record: CheckRecord, sight: ClaimSight) -> tuple[views.Fact, ...]:
    request, check = record.request, record.check
    found = []
    if request.dataset is not None:
        found.append(views.Fact(title="Dataset", value=dataset_words(request.dataset, sight)))
        digest = sight.digest("dataset", request.dataset.digest)
        found.append(views.Fact(title="Dataset digest", value=digest, code=True))
    took = duration_of(check)
    if took is not None:
        found.append(views.Fact(title="Took", value=formats.duration(took)))
    if check is not None and check.peak_memory_bytes is not None:
        found.append(views.Fact(title="Peak memory", value=formats.size(check.peak_memory_bytes)))
    if check is not None and check.conditions is not None:
        hardware = [check.conditions.cpu or check.conditions.platform, *check.conditions.gpus]
        found.append(views.Fact(title="Hardware", value=", ".join(hardware)))
    for title, domain, raw in (
        ("Version digest", "bundle", request.version_digest),
        ("Environment digest", "environment", request.environment_digest),
    ):
        found.append(views.Fact(title=title, value=sight.digest(domain, raw), code=True))  # type: ignore[arg-type]
    return tuple(found)


def check_events(
    reader: ClaimReader, render: Callable[[views.View], str]
) -> Callable[[Change[CheckRecord]], list[tuple[str, str]]]:
    """Return an encoder of a check's changes as HTML fragments: `status`, `progress`, `done`."""
    shown: views.CheckView | None = None
    texts, log = False, ""

    def encode(change: Change[CheckRecord]) -> list[tuple[str, str]]:
        nonlocal shown, texts, log
        if change.state is not None:
            texts = reader.sight.shows_texts(change.state)
            shown = check_view(change.state, reader)
            event = "done" if change.kind == "end" else "status"
            return [(event, render(views.CheckStatus(check=shown)))]
        if shown is None or change.news is None:
            return []
        news: Mapping[str, Any] = change.news.payload
        repeat = news.get("repeat")
        if isinstance(repeat, int) and repeat != shown.repeat:
            log = ""
        log = (log + str(news.get("log") or ""))[-_LOG_TAIL:] if texts else ""
        shown = replace(
            shown, repeat=repeat if isinstance(repeat, int) and repeat else shown.repeat, log_tail=log
        )
        return [("progress", render(views.CheckProgress(check=shown)))]

    return encode
