"""One trial's story: fetch the source, run the training command in a sandbox, store what it made."""

from __future__ import annotations

import logging
import shutil
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest, check_runnable
from vitrine_common.digests import canonical_json
from vitrine_common.documents import Output, Trial
from vitrine_common.environments import image_reference, system_root
from vitrine_common.errors import Invalid
from vitrine_common.materialise import read_manifest, write_files
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.spec import Spec
from vitrine_common.spec.sections import split_command
from vitrine_common.states import Reason
from vitrine_common.telemetry import inject, span
from vitrine_engine import (
    CheckpointFile,
    Engine,
    EngineError,
    Finished,
    Limits,
    Log,
    Metric,
    OutputFile,
    OutputSpec,
    Progress,
    RunEvent,
    RunRequest,
    Sandbox,
    SandboxSpec,
    ScriptModel,
)
from vitrine_trainer.gpus import Gpus
from vitrine_trainer.patience import insisting
from vitrine_trainer.recording import Recorder, sampling
from vitrine_trainer.repository import Trials
from vitrine_trainer.settings import TrainerSettings

log = logging.getLogger(__name__)


class TrainingFailed(Exception):
    """The trial ends here; `reason` says whose fault it is, the message why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Training:
    """Carries out trials on this host.

    Args:
        engine: where the command runs.
        shelf: the builder's environments on this host.
    """

    engine: Engine
    shelf: Shelf
    blobs: BlobStore
    trials: Trials
    gpus: Gpus
    settings: TrainerSettings

    async def carry_out(self, trial: Trial, recorder: Recorder) -> list[Output]:
        """Train; return the files made. Raises TrainingFailed, and EngineError when the platform failed."""
        manifest = await read_manifest(self.blobs, trial.source_digest)
        spec = Spec.model_validate(manifest.spec)
        limits = spec.train_limits(self._defaults())
        if limits.gpu > self.gpus.count:
            raise TrainingFailed(
                Reason.USER_ERROR,
                f"train.resources.gpu asks for {limits.gpu}, and this trainer has {self.gpus.count}; "
                "lower it, or ask the operator for a trainer with a GPU",
            )
        directory = self.settings.state_dir / "sources" / f"{trial.id}-{trial.attempt}"
        try:
            with span("fetch source"):
                await write_files(self.blobs, manifest, directory)
            async with self.shelf.held(trial.environment_digest or "") as environment:
                sandbox = await self._sandbox(trial, limits, directory, environment)
                return await self._run(trial, spec, sandbox, recorder)
        except EnvironmentGone as error:
            raise EngineError(error.message) from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _defaults(self) -> SpecLimits:
        settings = self.settings
        return SpecLimits(
            cpu=settings.default_cpus,
            memory=settings.default_memory_bytes,
            gpu=0,
            timeout=settings.default_timeout_seconds,
            disk=settings.default_disk_bytes,
            processes=settings.default_processes,
        )

    async def _sandbox(self, trial: Trial, limits: SpecLimits, directory: Path, environment: Path) -> Sandbox:
        try:
            system = system_root(self.shelf.directory, environment)
        except Invalid as error:
            raise EngineError(str(error)) from error
        return await self.engine.start(
            SandboxSpec(
                id=f"{trial.id}-{trial.attempt}",
                environment=environment,
                image=image_reference(trial.environment_digest or ""),
                system=system,
                bundle=directory,
                limits=_engine_limits(limits, self.settings.max_timeout_seconds),
                gpu=limits.gpu > 0,
            )
        )

    async def _run(self, trial: Trial, spec: Spec, sandbox: Sandbox, recorder: Recorder) -> list[Output]:
        try:
            await sandbox.load(ScriptModel())
            with span("train"):
                return await self._follow(trial, spec, sandbox, recorder)
        finally:
            await sandbox.stop()

    async def _follow(self, trial: Trial, spec: Spec, sandbox: Sandbox, recorder: Recorder) -> list[Output]:
        assert spec.train is not None
        request = RunRequest(
            id=trial.id,
            argv=tuple(split_command(spec.train.command)),
            outputs=tuple(OutputSpec(pattern=p, name=p, required=True) for p in spec.train.outputs),
            checkpoints=tuple(spec.train.checkpoints),
            metrics=True,
            traceparent=inject().get("traceparent"),
        )
        outputs: list[Output] = []
        async with (
            sampling(trial, self.trials, sandbox, self.gpus, self.settings.sample_seconds),
            aclosing(sandbox.run(request)) as events,
        ):
            async for event in events:
                await self._take(trial, event, outputs, recorder)
        return outputs

    async def _take(self, trial: Trial, event: RunEvent, outputs: list[Output], recorder: Recorder) -> None:
        match event:
            case Log():
                await recorder.log(event)
            case Metric():
                await recorder.metric(event)
            case Progress():
                await recorder.progress(event)
            case CheckpointFile():
                digest = await insisting(lambda: self.blobs.put_file(event.file))
                await insisting(lambda: self.trials.add_checkpoint(trial, event.name, digest, event.size))
            case OutputFile():
                outputs.append(await self._store(event))
            case Finished():
                recorder.exit_code = event.outcome.exit_code
                recorder.peak_memory_bytes = event.outcome.peak_memory_bytes
                if event.outcome.reason is not None:
                    raise TrainingFailed(Reason(event.outcome.reason.value), event.outcome.message)
            case _:
                log.warning("unexpected event", extra={"event": type(event).__name__})

    async def _store(self, event: OutputFile) -> Output:
        return Output(
            name=event.name,
            type="file",
            digest=await insisting(lambda: self.blobs.put_file(event.file)),
            size=event.size,
            media_type=event.media_type,
            filename=event.name.rsplit("/", 1)[-1],
        )


def _engine_limits(limits: SpecLimits, longest: float) -> Limits:
    return Limits(
        memory_bytes=limits.memory,
        cpus=limits.cpu,
        processes=limits.processes,
        disk_bytes=limits.disk,
        output_bytes=limits.disk,
        wall_seconds=min(limits.timeout, longest),
    )


async def store_version(blobs: BlobStore, source_digest: str, outputs: list[Output]) -> str:
    """Store the manifest of the trained version: the source with the outputs over it; return its digest.

    Raises TrainingFailed when what was trained cannot be run, such as for a missing ONNX file.
    """
    source = await read_manifest(blobs, source_digest)
    files = {entry.path: entry for entry in source.files}
    for output in outputs:
        assert output.digest is not None
        files[output.name] = FileEntry(path=output.name, digest=output.digest, size=output.size or 0)
    manifest = Manifest(spec=source.spec, files=tuple(files.values()))
    problems = check_runnable(Spec.model_validate(manifest.spec), manifest)
    if problems:
        raise TrainingFailed(
            Reason.USER_ERROR, "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        )
    return await blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")), "application/json")
