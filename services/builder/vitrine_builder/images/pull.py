"""A Docker daemon that fetches what was pushed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import docker
from docker.errors import DockerException, ImageNotFound

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.config import Image, tag_of
from vitrine_builder.images.docker import REPOSITORY
from vitrine_builder.progress import Report, Step


@dataclass(frozen=True)
class Puller:
    """Has the daemon at `url` pull from `source`, a repository with its registry's host."""

    url: str
    source: str
    timeout: float = 600.0

    def has(self, environment: str) -> bool:
        """Tell whether the daemon has the image of `environment`. Raises BuildFailure."""
        with self._client() as client:
            try:
                client.inspect_image(f"{REPOSITORY}:{tag_of(environment)}")
            except ImageNotFound:
                return False
            return True

    def pull(self, image: Image, report: Report) -> None:
        """Have the daemon fetch what it lacks of `image`, under the name that engines ask for, and verify it.

        Raises:
            BuildFailure: the daemon is away, cannot pull, or has other layers afterwards.
        """
        tag = image.tag
        report(Step("load", "pulled from the registry"))
        with self._client() as client:
            for line in client.pull(self.source, tag=tag, stream=True, decode=True):
                if "error" in line:
                    sentence = f"The Docker daemon cannot pull the image that was pushed: {line['error']}"
                    raise BuildFailure(FailureReason.INTERNAL, sentence)
            client.tag(f"{self.source}:{tag}", REPOSITORY, tag)
            found = client.inspect_image(f"{REPOSITORY}:{tag}")
            client.remove_image(f"{self.source}:{tag}", noprune=True)
        if found["RootFS"]["Layers"] != [layer.diff_id for layer in image.layers]:
            sentence = "The Docker daemon has pulled other layers than were pushed; tell the operator."
            raise BuildFailure(FailureReason.INTERNAL, sentence)

    @contextlib.contextmanager
    def _client(self) -> Iterator[docker.APIClient]:
        try:
            client = docker.APIClient(base_url=self.url, version="auto", timeout=self.timeout)
        except DockerException as error:
            raise self._unreachable() from error
        try:
            yield client
        except DockerException as error:
            raise self._unreachable() from error
        finally:
            client.close()

    def _unreachable(self) -> BuildFailure:
        sentence = "The Docker daemon does not pull images now; the operator finds its reason in its log."
        return BuildFailure(FailureReason.INTERNAL, sentence)
