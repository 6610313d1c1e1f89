"""What the sandbox of a version is made of."""

from __future__ import annotations

from vitrine_common.environments import image_reference, system_root
from vitrine_common.errors import Invalid
from vitrine_common.ids import new_id
from vitrine_common.shelf import Shelf
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.states import Reason
from vitrine_engine import Limits, SandboxSpec
from vitrine_runner.bundles import Bundle
from vitrine_runner.errors import RunFault
from vitrine_runner.gpus import Grant
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.worker import Need


def sandbox_spec(  # noqa: PLR0917 - everything that a sandbox is made of
    shelf: Shelf,
    settings: RunnerSettings,
    need: Need,
    bundle: Bundle,
    limits: SpecLimits,
    grant: Grant | None = None,
) -> SandboxSpec:
    """Return the specification of a version's sandbox, whose environment is held; raises RunFault."""
    environment = shelf.path(need.environment_digest)
    try:
        system = system_root(shelf.directory, environment)
    except Invalid as error:
        raise RunFault(Reason.PLATFORM_ERROR, str(error)) from error
    return SandboxSpec(
        id=new_id("worker"),
        environment=environment,
        image=image_reference(need.environment_digest),
        system=system,
        bundle=bundle.directory,
        owner=need.owner_id,
        limits=Limits(
            memory_bytes=limits.memory,
            cpus=limits.cpu,
            processes=limits.processes,
            disk_bytes=limits.disk,
            output_bytes=settings.output_bytes,
            log_bytes=settings.log_bytes,
            wall_seconds=limits.timeout,
        ),
        binds=settings.binds,
        env=grant.environment if grant else {},
        gpu=limits.gpu > 0,
        max_runs=bundle.spec.scaling.places,
    )
