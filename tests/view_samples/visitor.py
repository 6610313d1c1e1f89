"""Sample data of showcases and runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from vitrine_api import views as v

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
TOKEN = "q7Vw2mJ4bC9sXk1LdTzR8A"
DIGEST = "sha256:" + "3f9ac2d1" * 8
LONG = "An-unreasonably-long-name-without-any-place-to-break-it-" * 2 + "until-it-ends"
PICTURE = "/samples/digit-{}.png"


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


ANONYMOUS = v.RequestContext(now=NOW, csrf_token="csrf-sample", path=f"/s/{TOKEN}")
OWNER = v.RequestContext(
    now=NOW,
    csrf_token="csrf-sample",
    path="/",
    account=v.Account(name="ada", email="ada@example.org", is_admin=True),
)

CARD = """# Handwritten digits

A small convolutional network that reads **one handwritten digit** at a time.

## What it was trained on
1,797 pictures of 8 by 8 pixels from scikit-learn's `load_digits`, split 80 / 20.

| split | pictures | accuracy |
|:--|--:|--:|
| training | 1437 | 0.998 |
| held out | 360 | 0.972 |

## Limits
- Dark digit on a light ground, or the reverse; nothing else in the picture.
- It answers even when there is no digit: look at the probabilities.

> Please cite the [project page](https://example.org/digits).

```python
label = model(image)
```
"""

FIELDS: tuple[v.AnyField, ...] = (
    v.ImageField(
        name="image",
        title="Digit",
        description="One handwritten digit, dark on light or light on dark.",
        accept=("image/png", "image/jpeg", "image/webp"),
        max_bytes=20_000_000,
        examples=tuple(
            v.FileExample(index=i, filename=f"digit-{i}.png", url=PICTURE.format(i), size=412)
            for i in range(6)
        ),
    ),
    v.ChoiceField(name="ground", title="Background", choices=("auto", "light", "dark"), value="auto"),
    v.NumberField(
        name="sharpness",
        title="Sharpness",
        value="1.0",
        min=0,
        max=4,
        required=False,
        description="How much the strokes are sharpened before they are read.",
    ),
)

EVERY_FIELD: tuple[v.AnyField, ...] = (
    v.TextField(
        name="title",
        title="Title",
        value="",
        max_length=80,
        description="A few words.",
        examples=(
            v.ValueExample(label="The sea at dusk", value="The sea at dusk"),
            v.ValueExample(label="An orchard in a long unbroken row of early snow", value="An orchard …"),
        ),
    ),
    v.TextField(
        name="prompt", title="Beginning of the story", value="Once upon a time", multiline=True, min_length=3
    ),
    *FIELDS,
    v.NumberField(name="seed", title="Seed", value="7", integer=True, min=0, required=False),
    v.NumberField(
        name="steps", title="Steps", value="900", integer=True, min=1, max=500, error="900 is larger than 500"
    ),
    v.ChoiceField(
        name="style",
        title="Style",
        choices=("plain", "sonnet", "letter", "recipe", "log book"),
        required=False,
    ),
    v.FileField(
        name="table",
        title="Measurements",
        accept=(".csv", "text/csv"),
        max_bytes=5_000_000,
        required=False,
        examples=(v.FileExample(index=0, filename="weather-1961.csv", url="/samples/w.csv", size=18_400),),
        chosen=0,
    ),
    v.TableField(
        name="rows",
        title="Rows",
        accept=(".csv", "text/csv"),
        max_bytes=5_000_000,
        required=False,
        description="One row for each day.",
    ),
    v.AudioField(name="voice", title="Voice", accept=("audio/*",), max_bytes=20_000_000, required=False),
    v.JsonField(
        name="options",
        title="Options",
        value='{\n  "beam": 4,\n  "tags": ["a", "b"]\n}',
        max_bytes=1_000_000,
        required=False,
        examples=(v.ValueExample(label="greedy", value='{"beam": 1}'),),
    ),
)

SCORES = v.LabelsOutput(
    name="probabilities",
    title="Probabilities",
    scores=tuple(
        v.LabelScore(label=str(i), score=s)
        for i, s in enumerate((0.0007, 0.0002, 0.011, 0.9641, 0.0, 0.0123, 0.00004, 0.0031, 0.0079, 0.0008))
    ),
)
LABEL = v.LabelOutput(name="digit", title="Digit", label="3")
EVERY_OUTPUT: tuple[v.AnyOutput, ...] = (
    v.TextOutput(
        name="story",
        title="Story",
        text="Once upon a time there was a glass case.\nNobody could open it. " * 6,
    ),
    v.NumberOutput(name="score", title="Score", value=0.918273, description="Higher is better."),
    v.ImageOutput(
        name="picture",
        title="Picture",
        url=PICTURE.format("large"),
        filename="snow.png",
        size=48_213,
        width=640,
        height=400,
    ),
    v.JsonOutput(
        name="detail",
        title="Detail",
        value={
            "boxes": [{"x": 1, "y": 2.5, "label": "cat"}, {"x": 40, "y": 9, "label": "dog"}],
            "ok": True,
            "next": None,
            "none": [],
        },
    ),
    v.FileOutput(
        name="archive", title="Archive", url="/samples/a.zip", filename=LONG + ".zip", size=1_840_211
    ),
)
PLAYED: tuple[v.AnyOutput, ...] = (
    v.FileOutput(
        name="speech",
        title="Speech",
        url="/samples/speech.wav",
        filename="speech.wav",
        size=96_044,
        media_type="audio/wav",
    ),
    v.FileOutput(
        name="rows",
        title="Rows",
        url="/samples/rows.csv",
        filename="rows.csv",
        size=1_044,
        media_type="text/csv",
    ),
)
CODE = (
    v.CodeSample(
        language="curl",
        title="curl",
        text="curl -sS -H 'Prefer: wait=60' \\\n  -F input.image=@digit-3.png \\\n  https://vitrine.example/s/q7Vw/v1/runs",
    ),
    v.CodeSample(language="python", title="Python", text="from vitrine import Client\n\ninputs = {}"),
    v.CodeSample(language="cli", title="Command line", text="vitrine run https://vitrine.example/s/q7Vw"),
)
FACTS = v.CardFacts(
    facts=(
        v.CardFact(title="Licence", items=("apache-2.0",), url="https://example.org/licence"),
        v.CardFact(title="Data", items=("mnist", "load_digits")),
        v.CardFact(title="Tags", items=("vision", "handwriting", "small")),
    ),
    results=(
        v.CardResult(
            task="Image classification", dataset="digits, held out", metric="Accuracy", value="0.972"
        ),
        v.CardResult(task="Image classification", dataset="digits, held out", metric="F1", value="0.97"),
    ),
    samples=(),
)
INPUTS = (
    v.InputSummary(title="Digit", text="digit-3.png, 412 B", url=PICTURE.format(3), is_image=True),
    v.InputSummary(title="Background", text="auto"),
)
RUN_ID = "run_01jq8y3v9m4k7t2x5n6p8r1s3w"
DONE = v.RunView(
    id=RUN_ID,
    token=TOKEN,
    state="succeeded",
    created_at=ago(minutes=2),
    finished_at=ago(minutes=2),
    queued_ms=4.2,
    cold_start_ms=131.0,
    compute_ms=18.4,
    total_ms=171.0,
    inputs=INPUTS,
    outputs=(LABEL, SCORES),
    code=CODE,
)
QUEUED = v.RunView(
    id=RUN_ID, token=TOKEN, state="queued", created_at=ago(seconds=2), ahead=2, wait_ms=42_000, inputs=INPUTS
)
RUNNING = v.RunView(
    id=RUN_ID,
    state="running",
    created_at=ago(seconds=9),
    progress=0.42,
    progress_text="Step 42 of 100",
    inputs=INPUTS,
    show_logs=True,
    log_tail="loading weights\nstep 41 loss 0.21\nstep 42 loss 0.20",
)
FAILED = v.RunView(
    id=RUN_ID,
    state="failed",
    reason="user_error",
    message="The command ended with status 1: KeyError: 'weights'",
    created_at=ago(hours=3),
    queued_ms=3,
    compute_ms=812,
    total_ms=840,
    inputs=INPUTS,
    show_logs=True,
    log_tail="Traceback (most recent call last):\n  File \"test.py\", line 12\nKeyError: 'weights'",
)
TIMED_OUT = replace(FAILED, token=TOKEN, reason="timeout", message="", show_logs=False, log_tail="")
CANCELLED = replace(DONE, state="cancelled", reason="cancelled", outputs=(), compute_ms=None)


def run_row(state: str, minutes: float, summary: str, **more: object) -> v.RunRow:
    row = v.RunRow(
        id=f"run_01jq8y3v9m4k7t2x5n6p8r{int(minutes):04d}",
        state=state,
        created_at=ago(minutes=minutes),
        url=f"/s/{TOKEN}/runs/run_{int(minutes)}",
        summary=summary,
        total_ms=171.0 if state == "succeeded" else None,
    )
    return replace(row, **more)  # type: ignore[arg-type]


HISTORY = (
    v.RunRow(
        id=RUN_ID,
        state="succeeded",
        created_at=ago(minutes=2),
        url=DONE.url,
        summary="digit-3.png, auto",
        total_ms=171.0,
    ),
    run_row("running", 3, "my-own-scan-from-the-archive.jpg, dark"),
    run_row("failed", 8, "holiday.jpg, light", reason="input_invalid"),
    run_row("cancelled", 60 * 26, LONG),
)
OWNER_RUNS = tuple(
    replace(
        row,
        reference="ada/digits@3" if i != 3 else f"ada/{LONG}@1",
        url=f"/runs/{row.id}",
        source="link: Reviewers",
    )
    for i, row in enumerate(HISTORY)
)

SHOWCASE = v.Showcase(
    token=TOKEN,
    title="Handwritten digits",
    description="Reads one handwritten digit and says how sure it is.",
    owner="ada",
    version="3",
    digest=DIGEST,
    card=CARD,
    facts=FACTS,
    link_url=f"https://vitrine.example/s/{TOKEN}",
    fields=FIELDS,
    history=HISTORY[1:],
    expires_at=NOW + timedelta(days=12),
    max_runs=200,
    runs_left=161,
)

AGAIN = replace(
    DONE,
    id=RUN_ID[:-1] + "x",
    created_at=ago(minutes=1),
    inputs=(replace(INPUTS[0], text="digit-5.png", url=PICTURE.format(5), identity="b"), INPUTS[1]),
    outputs=(v.LabelOutput(name="digit", title="Digit", label="5"), SCORES),
)
COMPARISON = v.Comparison(
    left=DONE,
    right=AGAIN,
    inputs=tuple(
        v.ComparedInput(title=left.title, left=left, right=right)
        for left, right in zip(DONE.inputs, AGAIN.inputs, strict=True)
    ),
    outputs=(
        v.ComparedOutput(title="Digit", left=LABEL, right=AGAIN.outputs[0]),
        v.ComparedOutput(title="Probabilities", left=SCORES, right=SCORES),
        v.ComparedOutput(title="Picture", left=EVERY_OUTPUT[2], right=EVERY_OUTPUT[2]),
        v.ComparedOutput(title="Note", left=None, right=EVERY_OUTPUT[0]),
    ),
    model_title="Handwritten digits",
    home_url=f"/s/{TOKEN}",
)
