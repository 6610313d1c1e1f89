"""From the values of a request to what an engine runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.spec import FileValue, Input, PlacedFile, file_suffix, invocation
from vitrine_common.states import Reason
from vitrine_engine import InputFile, OutputSpec, RunRequest
from vitrine_runner.bundles import Bundle
from vitrine_runner.errors import RunFault

IN_MEMORY_BYTES = 1 << 20
"""Files up to this size are passed on from memory; larger ones by way of the run's folder."""


@dataclass(frozen=True)
class InputReader:
    """Builds the engine's request of one run.

    Args:
        run_id: the run.
        blobs: where uploaded files are.
        folder: the run's own; made only if a file needs it.
        traceparent: W3C trace context for the program.
    """

    run_id: str
    blobs: BlobStore
    folder: Path
    traceparent: str | None = None

    async def request(self, bundle: Bundle, inputs: str) -> RunRequest:
        """Return what the engine executes for `inputs`, canonical JSON of checked values by input name.

        Raises RunFault: a value does not fit the version, or a file is not in the store.
        """
        try:
            values = TypeAdapter(dict[str, Any]).validate_json(inputs)
            return await (self._loaded if bundle.is_loaded else self._script)(bundle, values)
        except ValueError as error:
            raise RunFault(Reason.INPUT_INVALID, f"The inputs do not fit this version: {error}") from error

    async def _script(self, bundle: Bundle, values: Mapping[str, Any]) -> RunRequest:
        call = invocation(bundle.spec, values, bundle.directories)
        files = await asyncio.gather(*(self._placed(index, file) for index, file in enumerate(call.files)))
        return RunRequest(
            id=self.run_id,
            argv=call.argv,
            files=tuple(files),
            workdir=call.workdir,
            env=call.env,
            outputs=tuple(
                OutputSpec(pattern=output["pattern"], name=output["name"], required=output["required"])
                for output in bundle.form["outputs"]
                if output["source"] == "files"
            ),
            traceparent=self.traceparent,
        )

    async def _placed(self, index: int, file: PlacedFile) -> InputFile:
        source: bytes | Path = file.content or b""
        if file.file is not None:
            source = await self._source(index, file.name, file.file)
        return InputFile(name=file.name, source=source, destination=file.destination)

    async def _loaded(self, bundle: Bundle, values: Mapping[str, Any]) -> RunRequest:
        declared: dict[str, Input] = {item.name: item for item in bundle.spec.effective_inputs()}
        uploads = [name for name in values if name in declared and declared[name].is_file]
        files = await asyncio.gather(
            *(
                self._upload(index, name, FileValue.model_validate(values[name]))
                for index, name in enumerate(uploads)
            )
        )
        return RunRequest(
            id=self.run_id,
            values={name: value for name, value in values.items() if name not in uploads},
            files=tuple(files),
            traceparent=self.traceparent,
        )

    async def _upload(self, index: int, name: str, value: FileValue) -> InputFile:
        source = await self._source(index, name, value)
        return InputFile(name=name, source=source, destination=name + file_suffix(value))

    async def _source(self, index: int, name: str, value: FileValue) -> bytes | Path:
        try:
            if value.size <= IN_MEMORY_BYTES:
                return await self.blobs.get_bytes(value.digest, IN_MEMORY_BYTES)
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"in-{index}"
            await self.blobs.download_to(value.digest, path)
        except BlobNotFound as error:
            message = f"The file given for `{name}` is no longer in the store; upload it again."
            raise RunFault(Reason.INPUT_INVALID, message) from error
        return path
