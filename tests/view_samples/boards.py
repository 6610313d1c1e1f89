"""Sample data of the overview, differences, the operator's pages and the audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from view_samples.owner import LINKS, MODELS
from view_samples.visitor import LONG, NOW, OWNER, OWNER_RUNS, ago
from vitrine_api import views as v
from vitrine_api.dashboard import Day
from vitrine_api.presenters.dashboard import run_chart

_RUNS = (3, 0, 12, 40, 38, 7, 0, 0, 25, 61, 58, 44, 90, 17)
CHART = run_chart(
    [Day((NOW - timedelta(days=13 - index)).date(), runs, runs // 9) for index, runs in enumerate(_RUNS)]
)
DASHBOARD = v.Dashboard(
    models=MODELS.models,
    more_models=True,
    chart=CHART,
    attention=(
        v.AttentionRow(
            title="ada/digits@4 could not be built",
            text="`torch==2.99` does not exist for Python 3.11; the newest one is 2.13.0.",
            url="/models/ada/digits/versions/4",
            at=ago(minutes=9),
            tone="bad",
        ),
        v.AttentionRow(
            title=f"A link to ada/{LONG} expires soon",
            text="It works until 23 November 2026. Open it to give it more time.",
            url="/links/lnk_1",
            at=ago(days=2),
        ),
    ),
    links=LINKS[:2],
    runs=OWNER_RUNS,
)
BOARD_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    "dashboard": (DASHBOARD, replace(OWNER, path="/")),
    "dashboard-new": (
        v.Dashboard(models=(), chart=run_chart([]), api_url="http://127.0.0.1:8300"),
        replace(OWNER, path="/"),
    ),
    "dashboard-quiet": (
        v.Dashboard(models=MODELS.models[1:2], chart=run_chart([Day(NOW.date(), 0, 0)])),
        replace(OWNER, path="/"),
    ),
    "models-found": (
        replace(
            MODELS, query="dig", sort="name", paging=v.Paging(older_url="/models?a", newer_url="/models")
        ),
        replace(OWNER, path="/models"),
    ),
    "models-none-found": (v.Models(models=(), query="dog"), replace(OWNER, path="/models")),
}
DIFF = v.Diff(
    title="digits",
    model_url="/models/ada/digits",
    before="3",
    after="4",
    before_reference="ada/digits@3",
    after_reference="ada/digits@4",
    before_url="/models/ada/digits/versions/3",
    after_url="/models/ada/digits/versions/4",
    versions=("4", "3", "2", "1"),
    file_changes=40,
    files=(
        v.DiffFile(
            kind="changed",
            path="predict.py",
            size_before=1820,
            size_after=1904,
            is_open=True,
            lines=(
                v.DiffLine(kind="place", text="@@ -12,4 +12,4 @@"),
                v.DiffLine(kind="same", text=" def predict(image):"),
                v.DiffLine(kind="drop", text="-    return model(image)"),
                v.DiffLine(kind="add", text=f"+    return model(normalise(image))  # {LONG}"),
            ),
        ),
        v.DiffFile(
            kind="added", path="weights/epoch-20.onnx", size_after=84_000_000, note="too long to show"
        ),
        v.DiffFile(kind="removed", path=f"{LONG}.txt", size_before=12),
        v.DiffFile(kind="moved", path="lib/a.py", moved_from="a.py", size_before=90, size_after=90),
    ),
    spec=(v.DiffValue(name="inputs.image.max_side", before="1024", after="2048"),),
    packages=(
        v.DiffValue(name="torch", before="2.12.0", after="2.13.0"),
        v.DiffValue(name="einops", after="0.8.1"),
        v.DiffValue(name="scipy", before="1.16.0"),
    ),
    environment="1.4 GB of layers are shared; 210 MB came, 190 MB went.",
    metrics=(v.DiffValue(name="accuracy", before="0.981", after="0.988"),),
    claims=(
        v.DiffValue(
            name="accuracy",
            before="claimed 0.98, measured 0.981: reproduced",
            after="claimed 0.99, not checked",
        ),
    ),
)
BOARD_SAMPLES |= {
    "diff": (DIFF, replace(OWNER, path="/models/ada/digits/versions/3/diff")),
    "diff-same": (replace(DIFF, same=True), OWNER),
    "diff-nothing": (
        replace(DIFF, files=(), spec=(), packages=(), environment="", metrics=(), claims=(), versions=("3",)),
        OWNER,
    ),
}
OPERATOR = v.Operator(
    processes=(
        v.ProcessRow(
            service="api",
            holder="lab-7:4711",
            version="1.0.0",
            started_at=ago(days=3),
            heard_at=NOW,
            answers=True,
        ),
        v.ProcessRow(
            service="runner",
            holder="lab-7:4712",
            version="1.0.0",
            started_at=ago(hours=2),
            heard_at=NOW,
            answers=True,
            isolation=(
                v.Fact(title="Engine", value="process"),
                v.Fact(title="Namespaces", value="user, mount, pid, network, ipc, uts"),
                v.Fact(title="System calls", value="filtered"),
            ),
            warnings=("Memory is watched, not limited: no control groups can be written here.",),
        ),
        v.ProcessRow(
            service="trainer",
            holder=f"{LONG}:1",
            version="0.9.0",
            started_at=ago(days=30),
            heard_at=ago(minutes=12),
            answers=False,
        ),
    ),
    servers=(
        v.ServerRow(name="NATS", ok=True, ms=0.4),
        v.ServerRow(name="MongoDB", ok=True, ms=0.9),
        v.ServerRow(name="S3", ok=False),
    ),
    missing=("trainer", "monitor"),
    queues=(
        v.QueueRow(
            stream="commands",
            name="runner-run-start-cpu",
            subject="run.start.cpu",
            waiting=12,
            working=4,
            again=1,
        ),
        v.QueueRow(
            stream="events",
            name="api-build-succeeded",
            subject="build.succeeded",
            waiting=0,
            working=0,
            again=0,
        ),
    ),
    storage=(
        v.Fact(title="Blobs", value="12 804, 96 GB"),
        v.Fact(title="Environments", value="31, 44 GB if nothing were shared"),
        v.Fact(title="Free disk", value="80 GB of 512 GB"),
    ),
    dead_letters=2,
    settings=(
        v.SettingRow(name="VITRINE_API_HOST", value="127.0.0.1", is_default=True, description="Address."),
        v.SettingRow(name="VITRINE_S3_SECRET_KEY", value="••••••", is_default=False, description="Secret."),
        v.SettingRow(name="VITRINE_API_PUBLIC_URL", value="", is_default=True, description="Public."),
    ),
)
RUNNERS = v.Runners(
    facts=(
        v.Fact(title="Runs that wait", value="12, the first for 40 s"),
        v.Fact(title="Runs that wait for a GPU", value="more than 1 000"),
        v.Fact(title="Places", value="3 of 4 busy"),
        v.Fact(title="Starts in the last hour", value="1 204 warm, 7 cold"),
    ),
    runners=(
        v.RunnerCard(
            holder="lab-7:4712",
            version="1.0.0",
            state="Answers",
            tone="good",
            heard_at=NOW,
            busy=3,
            slots=4,
            busy_share=75.0,
            memory="1.2 GB used, 6 GB promised of 18 GB",
            memory_share=33.3,
            cold_starts=7,
            warm_starts=1204,
            workers=(
                v.WorkerRow(
                    name="ada/digits@3",
                    state="busy, 2 of 4 places",
                    tone="busy",
                    since=ago(minutes=50),
                    served=311,
                    memory="410 MB of 2 GB",
                    share=20.5,
                ),
                v.WorkerRow(
                    name=f"{LONG}/{LONG}@12",
                    state="starting",
                    tone="busy",
                    since=NOW,
                    served=0,
                    memory="up to 2 GB",
                ),
            ),
            zygotes=(
                v.ZygoteRow(
                    environment="9f2c11d0a1b2",
                    owner="user_01jq8y3v9m4k7t2x5n6p8r1s3w",
                    pid=4801,
                    memory="212 MB",
                    modules=38,
                    sandboxes=2,
                ),
            ),
            gpus=(v.GpuRow(name="NVIDIA A100-SXM4-80GB", memory="12 GB of 80 GB", share=15.0, users=1),),
        ),
        v.RunnerCard(
            holder="lab-8:99", version="1.0.0", state="Ends its work", tone="warn", heard_at=NOW, slots=2
        ),
        v.RunnerCard(
            holder=f"{LONG}:1",
            version="0.9.0",
            state="Silent",
            tone="bad",
            heard_at=ago(minutes=9),
            told=False,
        ),
    ),
)
LETTERS = v.DeadLetters(
    total=2,
    letters=(
        v.DeadLetterRow(
            number=41,
            kind="version.register",
            subject="version.register",
            reason="cannot be handled: there is no train request trial_01jq8y3v9m4k7t2x5n6p8r1s3w",
            at=ago(minutes=3),
            size=612,
            about=(v.Fact(title="trial id", value="trial_01jq8y3v9m4k7t2x5n6p8r1s3w", code=True),),
        ),
        v.DeadLetterRow(
            number=42, kind="unreadable", subject=f"run.{LONG}", reason="", at=ago(days=2), size=3
        ),
    ),
    paging=v.Paging(newer_url="/operator/dead-letters", older_url="/operator/dead-letters?after=42"),
)
USERS = v.Users(
    users=(
        v.UserRow(
            name="ada",
            email="ada@example.org",
            created_at=ago(days=300),
            roles=("operator", "validator"),
            quotas=(
                v.UseRow(title="Storage", text="18 GB of 20 GB", share=90, near=True),
                v.UseRow(title="Runs today", text="12 of 1 000 runs", share=1.2),
            ),
        ),
        v.UserRow(name=LONG[:39], email=f"{LONG}@example.org", created_at=ago(minutes=1)),
    ),
    paging=v.Paging(older_url="/operator/users?after=1"),
)
USER = v.UserPage(
    user=USERS.users[0],
    operator=True,
    given=("validator",),
    is_self=True,
    fields=(
        v.QuotaField(
            name="max_storage_bytes", title="Storage", hint="Such as 20Gi or 500M", value="", of_all="20Gi"
        ),
        v.QuotaField(
            name="max_runs_per_day", title="Runs a day", hint="A whole number", value="900", of_all="5000"
        ),
        v.QuotaField(
            name="max_build_seconds_per_day",
            title="Build minutes a day",
            hint="A whole number",
            value="",
            of_all="240",
        ),
    ),
)
DATASETS = v.Datasets(
    rows=(
        v.DatasetRow(
            owner="ada",
            name="digits-test",
            number=3,
            digest=f"sha256:{'5d' * 32}",
            files=360,
            size=1_240_000,
            created_at=ago(hours=3),
            private=True,
        ),
        v.DatasetRow(
            owner="ada",
            name=LONG[:64],
            number=12,
            digest=f"sha256:{'7a' * 32}",
            files=1,
            size=88,
            created_at=ago(days=40),
        ),
    ),
    paging=v.Paging(older_url="/datasets?after=1"),
)
DATASET = v.DatasetPage(
    row=DATASETS.rows[0],
    files=(
        v.FileRow(path="images/0001.png", size=412, digest=f"sha256:{'1b' * 32}"),
        v.FileRow(path=f"{LONG}/labels.csv", size=1_100_000, digest=f"sha256:{'2c' * 32}"),
    ),
)
BOARD_SAMPLES |= {
    "user": (USER, replace(OWNER, path="/operator/users/ada")),
    "user-refused": (
        replace(
            USER,
            problems=(
                v.FieldProblem(field="", message="you cannot take the operator's role from yourself"),
                v.FieldProblem(field="max_runs_per_day", message="`many` is no whole number from 0 on"),
            ),
        ),
        replace(OWNER, path="/operator/users/ada"),
    ),
    "datasets": (DATASETS, replace(OWNER, path="/datasets")),
    "datasets-empty": (v.Datasets(rows=()), replace(OWNER, path="/datasets")),
    "dataset": (DATASET, replace(OWNER, path="/datasets/ada/digits-test/3")),
}
AUDIT = v.Audit(
    entries=(
        v.AuditRow(
            at=ago(minutes=1),
            actor="ada",
            action="link.created",
            kind="share link",
            subject="link_01jq8y3v9m4k7t2x5n6p8r1s3w",
            url="/links/lnk_1",
        ),
        v.AuditRow(
            at=ago(days=2), actor="link:link_1", action="run.requested", kind="run request", subject="run_1"
        ),
    ),
    actions=("login", "link.created", "run.requested"),
    csv_url="/audit.csv",
    paging=v.Paging(older_url="/audit?after=1"),
)
BOARD_SAMPLES |= {
    "operator": (OPERATOR, replace(OWNER, path="/operator")),
    "operator-well": (
        v.Operator(processes=OPERATOR.processes[:1], servers=OPERATOR.servers[:2]),
        replace(OWNER, path="/operator"),
    ),
    "operator-runners": (RUNNERS, replace(OWNER, path="/operator/runners")),
    "operator-runners-none": (v.Runners(runners=()), replace(OWNER, path="/operator/runners")),
    "operator-letters": (LETTERS, replace(OWNER, path="/operator/dead-letters")),
    "operator-letters-none": (v.DeadLetters(letters=()), replace(OWNER, path="/operator/dead-letters")),
    "operator-users": (USERS, replace(OWNER, path="/operator/users")),
    "operator-mails": (
        v.Mails(
            mails=(
                v.MailRow(
                    to="eva@example.org",
                    subject="Your code for a model",
                    written_at=ago(minutes=4),
                    text="Your code is 123 456.\n",
                ),
            )
        ),
        replace(OWNER, path="/operator/mails"),
    ),
    "operator-mails-none": (v.Mails(mails=()), replace(OWNER, path="/operator/mails")),
    "operator-mails-server": (v.Mails(mails=(), by_server=True), replace(OWNER, path="/operator/mails")),
    "audit": (AUDIT, replace(OWNER, path="/audit")),
    "operator-audit": (
        replace(AUDIT, of_all=True, url="/operator/audit", action="login"),
        replace(OWNER, path="/operator/audit"),
    ),
    "audit-none": (v.Audit(entries=(), csv_url="/audit.csv"), replace(OWNER, path="/audit")),
    "audit-none-found": (
        v.Audit(entries=(), action="login", actions=("login",), csv_url="/audit.csv"),
        replace(OWNER, path="/audit"),
    ),
}
