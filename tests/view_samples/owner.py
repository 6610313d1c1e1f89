"""Sample data of the owner's pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from view_samples.visitor import CARD, DIGEST, LONG, NOW, OWNER_RUNS, SHOWCASE, ago
from vitrine_api import views as v

LINKS = (
    v.LinkRow(
        id="lnk_1",
        reference="ada/digits@3",
        version_url="/models/ada/digits/versions/3",
        access="link",
        state="active",
        label="Reviewers of the spring round",
        created_at=ago(days=2),
        expires_at=NOW + timedelta(days=12),
        runs=39,
        max_runs=200,
        opened_at=ago(minutes=3),
    ),
    v.LinkRow(
        id="lnk_2",
        reference=f"ada/{LONG}@12",
        version_url="/models/ada/x/versions/12",
        access="public",
        state="active",
        created_at=ago(days=40),
        runs=12_804,
        opened_at=ago(hours=5),
        url="/s/public",
    ),
    v.LinkRow(
        id="lnk_3",
        reference="ada/digits@1",
        version_url="/models/ada/digits/versions/1",
        access="link",
        state="revoked",
        label="Old",
        created_at=ago(days=9),
        runs=0,
    ),
    v.LinkRow(
        id="lnk_4",
        reference="ada/digits@2",
        version_url="/models/ada/digits/versions/2",
        access="link",
        state="used_up",
        label="Workshop",
        created_at=ago(days=8),
        runs=20,
        max_runs=20,
        opened_at=ago(days=3),
    ),
)
LINK_FORM = v.LinkForm(
    versions=(
        v.VersionOption(value="ver_3", reference="ada/digits@3"),
        v.VersionOption(value="ver_2", reference="ada/digits@2"),
    ),
    version="ver_3",
)

BUILD_LOG = (
    "resolving 12 requirements\nresolved 31 packages in 0.8 s\nunpacking numpy-2.3.1\ncompiling 4812 files"
)
BUILDING = v.BuildView(
    id="bld_1",
    state="building",
    created_at=ago(seconds=14),
    step="Compiling 4812 files to bytecode",
    progress=0.7,
    log_tail=BUILD_LOG,
)
BUILT = v.BuildView(
    id="bld_1",
    state="succeeded",
    created_at=ago(days=1),
    finished_at=ago(days=1),
    total_ms=4210,
    log_tail=BUILD_LOG,
)
BROKEN = v.BuildView(
    id="bld_2",
    state="failed",
    created_at=ago(minutes=9),
    finished_at=ago(minutes=9),
    total_ms=912,
    message="requirements.txt line 3: `torchh==2.13` is not to be found; did you mean `torch`?",
    log_tail="resolving 3 requirements\nno such package: torchh",
)
MONITORED = v.MonitorSummary(
    runs=1284,
    since=ago(days=30),
    last_run_at=ago(minutes=3),
    outcomes=v.Distribution(
        title="Outcomes",
        shares=(
            v.Share(title="Done", count=1241),
            v.Share(title="The model's error", count=29),
            v.Share(title="Cancelled", count=11),
            v.Share(title="Too long", count=3),
        ),
    ),
    latencies=(
        v.LatencyRow(title="Total", count=1284, p50=38, p95=212, p99=1480),
        v.LatencyRow(title="Compute", count=1241, p50=17.4, p95=31, p99=88),
        v.LatencyRow(title="Cold start", count=64, p50=131, p95=188, p99=640),
    ),
    predictions=(
        v.Distribution(
            title="Digit",
            shares=tuple(
                v.Share(title=str(i), count=c)
                for i, c in enumerate((121, 140, 133, 128, 99, 117, 122, 151, 88, 142))
            ),
        ),
        v.Distribution(
            title="Confidence",
            shares=(
                v.Share(title="0 to 0.5", count=12),
                v.Share(title="0.5 to 0.9", count=181),
                v.Share(title="0.9 to 1", count=1048),
            ),
        ),
    ),
    inputs=(
        v.Distribution(
            title="Background", shares=(v.Share(title="auto", count=1200), v.Share(title="dark", count=84))
        ),
    ),
)
TRIAL_ROWS = (
    v.TrialRow(
        id="trl_1",
        title="digits, 20 epochs",
        state="succeeded",
        created_at=ago(days=1),
        metric="accuracy 0.972",
        total_ms=6_900,
        version_reference="ada/digits@3",
    ),
    v.TrialRow(id="trl_2", title=LONG, state="running", created_at=ago(minutes=1)),
)
VERSION_ROWS = (
    v.VersionRow(
        version="4",
        url="/models/ada/digits/versions/4",
        digest=DIGEST,
        state="build_failed",
        created_at=ago(minutes=9),
        message=BROKEN.message,
        size=412_000,
    ),
    v.VersionRow(
        version="3",
        url="/models/ada/digits/versions/3",
        digest=DIGEST,
        state="ready",
        created_at=ago(days=1),
        labels=("1.1.0",),
        size=412_300,
    ),
    v.VersionRow(
        version="2",
        url="/models/ada/digits/versions/2",
        digest=DIGEST,
        state="building",
        created_at=ago(days=2),
        size=12,
    ),
)
VERSION = v.Version(
    owner="ada",
    name="digits",
    title="Handwritten digits",
    version="3",
    digest=DIGEST,
    state="ready",
    created_at=ago(days=1),
    model_url="/models/ada/digits",
    monitor_url="/models/ada/digits/versions/3/monitor",
    labels=("1.1.0",),
    description=SHOWCASE.description,
    card=CARD,
    facts=(
        v.Fact(title="Kind", value="ONNX"),
        v.Fact(title="Model", value="model.onnx", code=True),
        v.Fact(title="Memory", value="at most 512 MB"),
        v.Fact(title="Time", value="at most 60 s"),
        v.Fact(title="Network", value="none"),
    ),
    inputs=(
        v.InterfaceRow(name="image", type="image", detail="PNG, JPEG, WEBP; at most 20 MB"),
        v.InterfaceRow(name="sharpness", type="number", detail="0 to 4, by default 1"),
    ),
    outputs=(v.InterfaceRow(name="digit", type="label"), v.InterfaceRow(name="probabilities", type="labels")),
    files=(
        v.FileRow(path="vitrine.yaml", size=812, digest=DIGEST),
        v.FileRow(path="model.onnx", size=398_120, digest=DIGEST),
        v.FileRow(path=f"examples/{LONG}.png", size=412, digest=DIGEST),
    ),
    build=BUILT,
    environment=v.EnvironmentSummary(
        digest=DIGEST,
        python="3.11",
        size=84_000_000,
        packages=tuple(
            v.Package(name=n, version="2.3.1")
            for n in ("numpy", "onnxruntime", "pillow", "protobuf", "flatbuffers")
        ),
        system=(v.Package(name="r-base-core", version="4.2.2.20221110-2"),),
        layers=tuple(
            v.LayerRow(
                kind=kind, digest=DIGEST, size=size, packages=names, reused=kind != "wheels", share=share
            )
            for kind, size, names, share in (
                ("base", 142_000_000, (), 100.0),
                ("system", 61_000_000, ("r-base-core==4.2.2.20221110-2",), 43.0),
                ("wheels", 41_000_000, (f"{LONG}==2.3.1",), 28.9),
                ("wheels", 1_200_000, tuple(f"package-{n}==1.{n}" for n in range(9)), 0.8),
                ("meta", 10_240, (), 0.0),
            )
        ),
        facts=(
            v.Fact(title="Image", value=DIGEST, code=True),
            v.Fact(title="Base", value=DIGEST, code=True),
        ),
        reference="ada/digits@7",
        export_url="/models/ada/digits/versions/7/environment",
        sbom_url="/models/ada/digits/versions/7/sbom",
        provenance_url="/models/ada/digits/versions/7/provenance",
    ),
    lineage=(
        v.Fact(title="Trial", value="digits, 20 epochs", url="/trials/trl_1"),
        v.Fact(title="Data", value=DIGEST, code=True),
    ),
    monitor=MONITORED,
    runs=OWNER_RUNS[:2],
    links=LINKS[:1],
)
TRIAL = v.TrialView(
    id="trl_01jq8y3v9m4k7t2x5n6p8r1s3w",
    state="succeeded",
    created_at=ago(days=1),
    finished_at=ago(days=1),
    total_ms=6_900,
    metrics=(
        v.MetricRow(name="loss", last=0.0831, lowest=0.0829, highest=2.301, count=20, step=20),
        v.MetricRow(name="accuracy", last=0.9722, lowest=0.41, highest=0.975, count=20, step=20),
    ),
    resources=(
        v.ResourceRow(title="Processor", mean="92 %", peak="188 %", samples=7),
        v.ResourceRow(title="Memory", mean="212 MB", peak="240 MB", samples=7),
    ),
    outputs=(
        v.TrialOutput(path="model.onnx", size=398_120, digest=DIGEST),
        v.TrialOutput(path="checkpoints/epoch-20.npz", size=400_000, digest=DIGEST, kind="checkpoint"),
    ),
    log_tail="epoch 19 loss 0.0840\nepoch 20 loss 0.0831\nexported model.onnx",
    version_reference="ada/digits@3",
    version_url="/models/ada/digits/versions/3",
)
TRAINING = replace(
    TRIAL, state="running", finished_at=None, progress=0.55, outputs=(), version_reference="", resources=()
)

TOKENS = (
    v.TokenRow(
        id="tok_1",
        name="laptop",
        scopes=("models:read", "models:write", "runs:write"),
        created_at=ago(days=20),
        used_at=ago(hours=2),
    ),
    v.TokenRow(
        id="tok_2",
        name=LONG,
        scopes=("models:read",),
        created_at=ago(days=80),
        expires_at=NOW + timedelta(days=10),
    ),
)
SETTINGS = v.Settings(
    tokens=TOKENS,
    scopes=("models:read", "models:write", "runs:write", "links:write"),
    can_invite=True,
    new_token="vt_9hQ2xT0aV7kLmN4pR8sW1yZ3",
    new_invite_url="https://localhost/signup?invite=9hQ2xT0aV7kLmN4p",
    invites=(
        v.InviteRow(id="inv_1", created_at=ago(days=3), email="grace@example.org", used_by="grace"),
        v.InviteRow(id="inv_2", created_at=ago(hours=1), expires_at=NOW + timedelta(days=7)),
    ),
    sessions=(
        v.SessionRow(
            id="session_1",
            label="Firefox on Linux",
            created_at=ago(days=2),
            expires_at=NOW + timedelta(days=12),
            current=True,
        ),
        v.SessionRow(id="session_2", label=LONG, created_at=ago(days=9), expires_at=NOW + timedelta(days=5)),
    ),
    works_on=(v.CollaborationRow(model="grace/parser", name="ada", created_at=ago(days=30)),),
    quotas=(
        v.QuotaRow(title="Storage", used="3.1 GB", limit="21.5 GB", share=14),
        v.QuotaRow(title="Runs today", used="4,700", limit="5,000", share=94, near=True),
    ),
    roles=("chair",),
)
MODELS = v.Models(
    models=(
        v.ModelRow(
            owner="ada",
            name="digits",
            title="Handwritten digits",
            url="/models/ada/digits",
            updated_at=ago(minutes=9),
            description=SHOWCASE.description,
            version="4",
            state="build_failed",
            versions=4,
        ),
        v.ModelRow(
            owner="ada",
            name="snow-gan",
            title="Snow GAN",
            url="/models/ada/snow-gan",
            updated_at=ago(days=4),
            description="Puts snow on summer photographs.",
            version="1.1.0",
            state="ready",
            versions=1,
        ),
        v.ModelRow(
            owner="ada",
            name="x",
            title=LONG,
            url="/models/ada/x",
            updated_at=ago(days=90),
            version="12",
            state="building",
        ),
    )
)
LANDING = v.Landing(
    models=(
        v.PublicModel(
            title="Handwritten digits",
            url="/s/a",
            description=SHOWCASE.description,
            owner="ada",
            input_kinds=("image",),
            output_kinds=("label", "labels"),
        ),
        v.PublicModel(
            title="Snow GAN",
            url="/s/b",
            description="Puts snow on summer photographs.",
            input_kinds=("image",),
            output_kinds=("image",),
        ),
        v.PublicModel(
            title="Small storyteller",
            url="/s/c",
            description="Continues a story, letter by letter. It was trained on this repository's text.",
            owner="grace",
        ),
    )
)
