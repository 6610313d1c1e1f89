"""Every page and fragment with sample data, for the gallery and the tests of the views."""

from __future__ import annotations

from dataclasses import replace

from view_samples.accounts import ACCOUNT_SAMPLES
from view_samples.boards import BOARD_SAMPLES
from view_samples.claims import (
    CHECK,
    CHECK_CANCELLED,
    CHECK_DIFFERS,
    CHECK_FAILED,
    CHECK_QUEUED,
    CHECK_RUNNING,
    CLAIMS,
)
from view_samples.links import LINK_SAMPLES
from view_samples.news import NEWS_SAMPLES
from view_samples.owner import (
    BROKEN,
    BUILDING,
    LANDING,
    LINKS,
    MODELS,
    MONITORED,
    SETTINGS,
    TRAINING,
    TRIAL,
    TRIAL_ROWS,
    VERSION,
    VERSION_ROWS,
)
from view_samples.receipts import RECEIPT_SAMPLES
from view_samples.venues import VENUE_SAMPLES
from view_samples.visitor import (
    ANONYMOUS,
    CANCELLED,
    CARD,
    COMPARISON,
    DONE,
    EVERY_FIELD,
    EVERY_OUTPUT,
    FAILED,
    HISTORY,
    LONG,
    OWNER,
    OWNER_RUNS,
    PLAYED,
    QUEUED,
    RUNNING,
    SHOWCASE,
    TIMED_OUT,
    TOKEN,
    ago,
)
from vitrine_api import views as v

PROBLEMS = (
    v.FieldProblem(field="inputs.image", message="`image` is missing; give an image"),
    v.FieldProblem(field="inputs.steps", message="`steps` does not fit: 900 is larger than 500"),
)

Sample = tuple[v.View, v.RequestContext]
SAMPLES: dict[str, Sample] = {
    **BOARD_SAMPLES,
    **LINK_SAMPLES,
    **ACCOUNT_SAMPLES,
    **NEWS_SAMPLES,
    **RECEIPT_SAMPLES,
    **{name: sample for name, sample in VENUE_SAMPLES.items() if name != "review-saved"},
    "showcase": (SHOWCASE, ANONYMOUS),
    "showcase-done": (replace(SHOWCASE, run=DONE, history=HISTORY), ANONYMOUS),
    "showcase-every-field": (
        replace(
            SHOWCASE,
            title="Every kind of field",
            fields=EVERY_FIELD,
            card="",
            history=(),
            problem="2 fields need another look.",
        ),
        ANONYMOUS,
    ),
    "showcase-used-up": (replace(SHOWCASE, runs_left=0), ANONYMOUS),
    "showcase-unavailable": (
        replace(SHOWCASE, unavailable="Its environment is being made again; try in a minute."),
        ANONYMOUS,
    ),
    "showcase-bare": (v.Showcase(token=TOKEN, title=LONG, fields=()), ANONYMOUS),
    "showcase-claims": (replace(SHOWCASE, claims=CLAIMS), ANONYMOUS),
    "version-claims": (
        replace(VERSION, claims=replace(CLAIMS, start_url="/claims/checks", reference="ada/digits@3")),
        replace(OWNER, path="/models/ada/digits/versions/3"),
    ),
    **{
        f"check-{name}": (
            v.CheckPage(check=check, model_title="Handwritten digits", back_url=f"/s/{TOKEN}"),
            ANONYMOUS,
        )
        for name, check in {
            "reproduced": CHECK,
            "running": CHECK_RUNNING,
            "queued": CHECK_QUEUED,
            "differs": CHECK_DIFFERS,
            "failed": CHECK_FAILED,
            "cancelled": CHECK_CANCELLED,
        }.items()
    },
    "link-expired": (v.LinkUnavailable(end="expired", ended_at=ago(days=2)), ANONYMOUS),
    "link-revoked": (v.LinkUnavailable(end="revoked"), ANONYMOUS),
    "link-unknown": (v.LinkUnavailable(end="unknown"), ANONYMOUS),
    "run-done": (v.RunPage(run=DONE, model_title="Handwritten digits", history=HISTORY), ANONYMOUS),
    "run-every-output": (
        v.RunPage(run=replace(DONE, outputs=EVERY_OUTPUT), model_title="Every kind of output"),
        ANONYMOUS,
    ),
    "run-played": (v.RunPage(run=replace(DONE, outputs=PLAYED), model_title="Sounds"), ANONYMOUS),
    "run-streaming": (
        v.RunPage(
            run=replace(RUNNING, token=TOKEN, show_logs=False, streams=True), model_title="Handwritten digits"
        ),
        ANONYMOUS,
    ),
    "compare": (COMPARISON, ANONYMOUS),
    "run-queued": (v.RunPage(run=QUEUED, model_title="Handwritten digits"), ANONYMOUS),
    "run-running": (
        v.RunPage(
            run=RUNNING,
            model_title="Handwritten digits",
            reference="ada/digits@3",
            version_url="/models/ada/digits/versions/3",
        ),
        OWNER,
    ),
    "run-failed": (v.RunPage(run=FAILED, model_title="Handwritten digits", reference="ada/digits@3"), OWNER),
    "run-timeout": (v.RunPage(run=TIMED_OUT, model_title="Handwritten digits"), ANONYMOUS),
    "run-cancelled": (v.RunPage(run=CANCELLED, model_title="Handwritten digits"), ANONYMOUS),
    "runs": (
        v.RunsPage(
            runs=OWNER_RUNS, state="failed", paging=v.Paging(newer_url="/runs?a", older_url="/runs?b")
        ),
        replace(OWNER, path="/runs"),
    ),
    "runs-empty": (v.RunsPage(runs=()), replace(OWNER, path="/runs")),
    "landing": (LANDING, replace(ANONYMOUS, path="/")),
    "landing-empty": (v.Landing(), replace(ANONYMOUS, path="/", signup_open=True)),
    "login": (v.Login(), replace(ANONYMOUS, path="/login")),
    "login-refused": (
        v.Login(email="ada", next_url="/links", problem="This name and password do not belong together."),
        replace(ANONYMOUS, path="/login"),
    ),
    "signup": (
        v.Signup(
            invite="abc",
            name="Ada!",
            email="ada@example.org",
            problems=(v.FieldProblem(field="name", message="Use small letters, digits and dashes."),),
        ),
        ANONYMOUS,
    ),
    "signup-code": (
        v.Signup(
            problems=(
                v.FieldProblem(field="invite", message="This invite was used."),
                v.FieldProblem(field="", message="Not made."),
            )
        ),
        ANONYMOUS,
    ),
    "settings": (SETTINGS, replace(OWNER, path="/settings")),
    "settings-empty": (
        v.Settings(tokens=(), problems=(v.FieldProblem(field="name", message="Give it a name."),)),
        replace(OWNER, path="/settings"),
    ),
    "models": (MODELS, replace(OWNER, notice=v.Notice(text="You are logged in."))),
    "models-empty": (v.Models(models=(), api_url="http://127.0.0.1:8300"), OWNER),
    "model": (
        v.Model(
            owner="ada",
            name="digits",
            title="Handwritten digits",
            description=SHOWCASE.description,
            versions=VERSION_ROWS,
            card=CARD,
            runs=OWNER_RUNS,
            links=LINKS,
            trials=TRIAL_ROWS,
        ),
        replace(OWNER, path="/models/ada/digits"),
    ),
    "model-empty": (v.Model(owner="ada", name="x", title=LONG, versions=()), OWNER),
    "version": (VERSION, replace(OWNER, path="/models/ada/digits/versions/3")),
    "version-building": (
        replace(
            VERSION,
            state="building",
            build=BUILDING,
            environment=None,
            monitor=None,
            runs=(),
            links=(),
            lineage=(),
            card="",
        ),
        OWNER,
    ),
    "version-broken": (
        replace(
            VERSION,
            state="build_failed",
            build=BROKEN,
            environment=None,
            monitor=None,
            runs=(),
            links=(),
            files=(),
            card="",
        ),
        OWNER,
    ),
    "monitor": (
        v.Monitor(reference="ada/digits@3", version_url="/models/ada/digits/versions/3", summary=MONITORED),
        OWNER,
    ),
    "monitor-empty": (
        v.Monitor(reference="ada/digits@3", version_url="/v", summary=v.MonitorSummary(runs=0)),
        OWNER,
    ),
    "trials": (v.Trials(trials=TRIAL_ROWS), replace(OWNER, path="/trials")),
    "trials-empty": (v.Trials(trials=()), replace(OWNER, path="/trials")),
    "trial": (
        v.Trial(
            trial=TRIAL,
            title="digits, 20 epochs",
            facts=(v.Fact(title="Command", value="python train.py --epochs 20", code=True),),
        ),
        replace(OWNER, path="/trials/trl_1"),
    ),
    "trial-running": (v.Trial(trial=TRAINING, title="digits, 20 epochs"), OWNER),
    "trial-failed": (
        v.Trial(
            trial=replace(
                TRIAL, state="failed", reason="out_of_memory", message="512 MB were not enough.", metrics=()
            ),
            title=LONG,
        ),
        OWNER,
    ),
    **{
        f"error-{status}": (
            v.ErrorPage(status=status, message="What exactly.", request_id="req_01jq8y3v9m4k7t2x5n6p8r1s3w"),
            ANONYMOUS,
        )
        for status in (403, 404, 410, 413, 500, 503)
    },
    "error-422": (v.ErrorPage(status=422, problems=PROBLEMS, back_url=f"/s/{TOKEN}"), ANONYMOUS),
    "error-429": (v.ErrorPage(status=429, retry_after=42), ANONYMOUS),
}
"""Whole pages by name."""

FRAGMENTS: dict[str, Sample] = {
    "review-saved": VENUE_SAMPLES["review-saved"],
    "link-ended": (v.LinkEnded(end="revoked"), ANONYMOUS),
    "run-status": (v.RunStatus(run=DONE), ANONYMOUS),
    "run-status-queued": (v.RunStatus(run=QUEUED), ANONYMOUS),
    "run-status-expired": (v.RunStatus(run=replace(CANCELLED, state="expired", reason=None)), ANONYMOUS),
    "check-status": (v.CheckStatus(check=CHECK), ANONYMOUS),
    "check-progress": (v.CheckProgress(check=CHECK_RUNNING), ANONYMOUS),
    "check-panel": (v.CheckPanel(check=CHECK_QUEUED), ANONYMOUS),
    "run-progress": (v.RunProgress(run=RUNNING), OWNER),
    "run-panel": (v.RunPanel(run=QUEUED, history=HISTORY, runs_left=160), ANONYMOUS),
    "run-panel-alone": (v.RunPanel(run=DONE), ANONYMOUS),
    "build-progress": (v.BuildProgress(build=BUILDING), OWNER),
    "build-progress-failed": (v.BuildProgress(build=BROKEN), OWNER),
    "trial-status": (v.TrialStatus(trial=TRAINING), OWNER),
    "error-notice": (
        v.ErrorNotice(status=422, message="2 inputs need another look.", problems=PROBLEMS),
        ANONYMOUS,
    ),
}
"""Parts of pages, as event streams and scripted forms carry them."""
