"""What the builder is asked for on behalf of a version."""

from __future__ import annotations

from datetime import timedelta

from vitrine_api import views
from vitrine_api.manifests import Bundle
from vitrine_api.presenters.models import build_view
from vitrine_api.versions import _build
from vitrine_builder.failures import RETRIED, FailureReason
from vitrine_common.bundle import Manifest
from vitrine_common.clock import utcnow
from vitrine_common.documents import PASSING_REASONS, Build, BuildProblem, Version
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.spec import load_spec
from vitrine_common.states import BuildState, VersionState


def test_a_refresh_reaches_the_builder() -> None:
    spec = load_spec("name: m\nmodel: {command: python a.py}\npackage: [six]")
    bundle = Bundle(manifest=Manifest(spec=spec.plain(), files=()), spec=spec)
    for refresh in (False, True):
        start = _build(bundle, refresh=refresh)
        assert (start.request.requirements, start.request.refresh) == (("six",), refresh)


def version() -> Version:
    return Version(
        id="version_1",
        model_id="model_1",
        owner_id="user_1",
        owner="ada",
        model="digits",
        number=1,
        digest="sha256:" + "0" * 64,
        spec={},
        file_count=1,
        total_bytes=1,
        state=VersionState.BUILDING,
        build_id="build_1",
        created_at=utcnow(),
        updated_at=utcnow(),
    )


def test_a_build_whose_builder_died_waits_and_does_not_claim_to_be_made() -> None:
    def shown(lease: timedelta) -> views.BuildView:
        build = Build(
            id="build_1",
            request=EnvironmentRequest(),
            state=BuildState.BUILDING,
            step="download",
            lease_expires_at=utcnow() + lease,
        )
        return build_view(version(), build)

    living, dead = shown(timedelta(seconds=20)), shown(timedelta(seconds=-1))
    assert (living.state, living.step) == ("building", "download")
    assert dead.state == "queued"
    assert "the next one that is there takes it up" in dead.step


def test_who_is_not_at_fault_is_not_told_to_change_anything() -> None:
    def shown(reason: str) -> views.BuildView:
        problem = BuildProblem(reason=reason, message="It went wrong.")
        failed = version().model_copy(update={"state": VersionState.BUILD_FAILED, "build_problem": problem})
        return build_view(failed, None)

    assert [shown(reason).passes for reason in ("disk_full", "index_unreachable", "no_such_version")] == [
        True,
        True,
        False,
    ]
    assert all(FailureReason(reason) in RETRIED for reason in PASSING_REASONS)
