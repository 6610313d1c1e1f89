"""Runs: their live status, rows of lists, outputs as what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from vitrine_api import permalinks, run_code, views
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.pictures import SAFE_TYPES
from vitrine_api.presenters.fields import as_text
from vitrine_api.presenters.streaming import Streamed
from vitrine_api.progress import Change
from vitrine_api.receipts.issuing import ATTESTED
from vitrine_api.run_inputs import file_values, safe_filename
from vitrine_api.runs import RunRecord
from vitrine_api.specs import spec_of
from vitrine_common.documents import Output, ShareLink, Version
from vitrine_common.spec import STDOUT, ModelKind, Spec

_LOG_TAIL = 8000
_SUMMARY = 120
_FILE_KEYS = {"digest", "size", "media_type", "filename"}


@dataclass(frozen=True)
class Reader:
    """Who looks at runs: a visitor by a link (`token`), or the account that owns them."""

    token: str | None = None
    may_open: bool = True
    receipts: bool = False
    """Whether this instance issues receipts."""

    place: str = ""
    """Where the link's pages begin, if not at `/s/{token}`."""
    base_url: str = ""
    """Where the instance answers; runs are shown as code where it is given."""
    has_passcode: bool = False
    sight: Sight = EVERYTHING
    link: ShareLink | None = None
    """The link, where its visitors may hand on addresses of their runs."""

    @property
    def base(self) -> str:
        """Where the addresses of runs begin."""
        place = self.place or (f"/s/{self.token}" if self.token else "")
        return f"{place}/runs"


def run_view(record: RunRecord, version: Version | None, reader: Reader) -> views.RunView:
    """Return a run as its page shows it to `reader`."""
    request, run = record.request, record.run
    spec = spec_of(version) if version else None
    timings = run.timings if run else None
    shown = run if reader.may_open else None
    return views.RunView(
        id=request.id,
        state=record.state.value,
        created_at=request.created_at,
        token=reader.token,
        base=reader.base,
        reason=run.reason.value if run and run.reason else None,
        message=reader.sight.text(shown.message) if shown else "",
        finished_at=run.finished_at if run else None,
        queued_ms=timings.queued_ms if timings else None,
        cold_start_ms=timings.start_ms if timings and run and run.cold else None,
        attempt=run.attempt if run else 0,
        compute_ms=timings.compute_ms if timings else None,
        total_ms=timings.total_ms if timings else None,
        inputs=_inputs(request.inputs, spec, f"{reader.base}/{request.id}", reader.sight)
        if reader.may_open
        else (),
        outputs=_outputs(shown.outputs, spec, f"{reader.base}/{request.id}", reader.sight) if shown else (),
        log_tail=reader.sight.text(shown.log_tail) if shown else "",
        show_logs=reader.token is None and reader.may_open,
        streams=reader.may_open and spec is not None and _prints_its_answer(spec),
        can_cancel=reader.may_open and not record.final,
        ahead=record.place.ahead if record.place else None,
        wait_ms=record.place.seconds * 1000 if record.place and record.place.seconds is not None else None,
        code=_code(record, version, reader) if record.final and reader.may_open else (),
        has_receipt=reader.receipts and reader.may_open and record.state in ATTESTED,
        permalink=_permalink(record, reader),
    )


def _permalink(record: RunRecord, reader: Reader) -> str:
    if reader.link is None or not record.final:
        return ""
    run_id = record.request.id
    return f"{reader.base_url}{reader.base}/{run_id}?key={permalinks.key_of(reader.link, run_id)}"


def _prints_its_answer(spec: Spec) -> bool:
    outputs = spec.effective_outputs()
    return spec.kind() is ModelKind.SCRIPT and any(item.path in {None, STDOUT} for item in outputs)


def _code(record: RunRecord, version: Version | None, reader: Reader) -> tuple[views.CodeSample, ...]:
    if not reader.base_url or version is None:
        return ()
    names = {
        name: safe_filename(reader.sight.text(file.filename), name)
        for name, file in file_values(version, record.request.inputs).items()
    }
    given = run_code.givens(json.loads(record.request.inputs), names)
    reference = "" if reader.token else version.reference
    target = run_code.Target(reader.base_url, reader.token, reference, reader.has_passcode)
    return (
        views.CodeSample(language="curl", title="curl", text=run_code.curl(target, given)),
        views.CodeSample(language="python", title="Python", text=run_code.python(target, given)),
        views.CodeSample(language="cli", title="Command line", text=run_code.command_line(target, given)),
    )


def comparison(
    left: views.RunView, right: views.RunView, model_title: str, *, embedded: bool = False
) -> views.Comparison:
    """Return two runs next to each other: inputs by title, outputs by name and order."""
    ours, theirs = ({item.title: item for item in run.inputs} for run in (left, right))
    made, remade = (_by_place(run.outputs) for run in (left, right))
    return views.Comparison(
        left=left,
        right=right,
        inputs=tuple(
            views.ComparedInput(title=title, left=ours.get(title), right=theirs.get(title))
            for title in ours | theirs
        ),
        outputs=tuple(
            views.ComparedOutput(
                title=(made.get(place) or remade[place]).title,
                left=made.get(place),
                right=remade.get(place),
            )
            for place in made | remade
        ),
        model_title=model_title,
        home_url=left.home_url,
        embedded=embedded,
    )


def _by_place(outputs: Iterable[views.AnyOutput]) -> dict[tuple[str, int], views.AnyOutput]:
    found: dict[tuple[str, int], views.AnyOutput] = {}
    for output in outputs:
        index = sum(name == output.name for name, _ in found)
        found[output.name, index] = output
    return found


def run_row(record: RunRecord, version: Version | None, reader: Reader, source: str = "") -> views.RunRow:
    """Return a run as a row of a list."""
    run = record.run
    return views.RunRow(
        id=record.request.id,
        state=record.state.value,
        created_at=record.request.created_at,
        url=f"{reader.base}/{record.request.id}",
        reference=version.reference if version and reader.token is None else "",
        summary=_summary(record.request.inputs, reader.sight) if reader.may_open else "",
        reason=run.reason.value if run and run.reason else None,
        total_ms=run.timings.total_ms if run else None,
        source=source,
    )


def _summary(inputs: str, sight: Sight) -> str:
    parts = [_value_words(value, sight) for value in json.loads(inputs).values()]
    return ", ".join(part for part in parts if part)[:_SUMMARY]


def _value_words(value: Any, sight: Sight) -> str:
    return sight.text(str(value["filename"])) if _is_file(value) else as_text(value)[:_SUMMARY]


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == _FILE_KEYS


def _inputs(inputs: str, spec: Spec | None, url: str, sight: Sight) -> tuple[views.InputSummary, ...]:
    declared = {item.name: item for item in spec.effective_inputs()} if spec else {}
    files = {name for name, item in declared.items() if item.is_file}
    return tuple(
        views.InputSummary(
            title=declared[name].title if name in declared else name,
            text=_value_words(value, sight),
            url=f"{url}/inputs/{name}" if name in files else None,
            is_image=name in files and value["media_type"] in SAFE_TYPES,
            identity=sight.digest("input", value["digest"]) if name in files else as_text(value),
        )
        for name, value in json.loads(inputs).items()
    )


def _outputs(
    outputs: Iterable[Output], spec: Spec | None, url: str, sight: Sight
) -> tuple[views.AnyOutput, ...]:
    declared = {item.name: item for item in spec.effective_outputs()} if spec else {}
    seen: dict[str, int] = {}
    shown = []
    for output in outputs:
        index = seen[output.name] = seen.get(output.name, -1) + 1
        item = declared.get(output.name)
        common: dict[str, Any] = {
            "name": output.name,
            "title": item.title if item else output.name,
            "description": (item.description or "") if item else "",
            "url": f"{url}/outputs/{output.name}" + (f"?index={index}" if index else ""),
        }
        filename = sight.output_name(output.name, output.filename)
        shown.append(_output(output.model_copy(update={"filename": filename}), common))
    return tuple(shown)


def _output(output: Output, common: dict[str, Any]) -> views.AnyOutput:
    if output.value is None:
        return _file_output(output, common)
    value = json.loads(output.value)
    common = {**common, "url": common["url"] if output.digest else None}
    match output.type, value:
        case "text", str():
            return views.TextOutput(**common, text=value)
        case "number", int() | float():
            return views.NumberOutput(**common, value=value)
        case "label", ({"label": str() as label} | (str() as label)):
            return views.LabelOutput(**common, label=label)
        case "labels", [*_] | {}:
            scores = _scores(value)
            if scores:
                return views.LabelsOutput(**common, scores=scores)
    return views.JsonOutput(**common, value=value)


def _scores(value: Any) -> tuple[views.LabelScore, ...]:
    pairs = list(value.items()) if isinstance(value, dict) else [_pair(item) for item in value]
    good = [(label, score) for label, score in pairs if isinstance(score, int | float)]
    return tuple(views.LabelScore(label=str(label), score=float(score)) for label, score in good)


def _pair(item: Any) -> tuple[Any, Any]:
    return (item.get("label"), item.get("score")) if isinstance(item, dict) else (None, None)


def _file_output(output: Output, common: dict[str, Any]) -> views.AnyOutput:
    filename, size = output.filename or output.name, output.size or 0
    if output.type == "image" and output.media_type in SAFE_TYPES:
        return views.ImageOutput(**common, filename=filename, size=size)
    return views.FileOutput(
        **common, filename=filename, size=size, media_type=output.media_type or "application/octet-stream"
    )


def run_events(
    version: Version | None, reader: Reader, render: Callable[[views.View], str]
) -> Callable[[Change[RunRecord]], list[tuple[str, str]]]:
    """Return an encoder of a run's changes as HTML fragments: `status`, `progress`, `done`."""
    shown: views.RunView | None = None
    log, told = "", reader.sight.news()
    streamed = Streamed(Spec.model_validate(version.spec) if version else None)

    def encode(change: Change[RunRecord]) -> list[tuple[str, str]]:
        nonlocal shown, log
        if change.state is not None:
            told.began(change.state.state)
            streamed.take((told.rest() if change.kind == "end" else None) or {})
            shown = replace(run_view(change.state, version, reader), streamed=streamed.views())
            event = "done" if change.kind == "end" else "status"
            return [(event, render(views.RunStatus(run=shown)))]
        if shown is None or change.news is None:
            return []
        news = told(change.news.payload)
        log = (log + str(news.get("log") or ""))[-_LOG_TAIL:]
        streamed.take(news)
        fraction = news.get("fraction")
        live = replace(
            shown,
            progress=float(fraction) if isinstance(fraction, int | float) else shown.progress,
            progress_text=str(news.get("message") or "") or shown.progress_text,
            log_tail=log,
            streamed=streamed.views(),
        )
        shown = live
        return [("progress", render(views.RunProgress(run=live)))]

    return encode
