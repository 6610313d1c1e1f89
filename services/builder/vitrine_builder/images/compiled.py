"""Images with bytecode: the image of an environment once more, with layers of bytecode between its own.

They follow as bytecode follows a folder, under a name of their own, and depend on what compiled. An engine
runs them where they are; what names an environment's image names the one without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.images.config import Image, tag_of
from vitrine_builder.images.parts import BytecodePart, Part
from vitrine_builder.images.plan import plan_tiers
from vitrine_builder.images.work import Images, ImageWork, name_of
from vitrine_builder.layers import Layer
from vitrine_builder.lock import Lock
from vitrine_builder.progress import silent
from vitrine_engine.docker.images import WITH_BYTECODE


@dataclass(frozen=True)
class CompiledImages:
    """Makes them of environments whose images are made. `compiler` names what compiled."""

    images: Images
    compiler: str

    def wants(self, environment: str) -> bool:
        """Whether the image of `environment` is there, and that with bytecode is not.

        Raises:
            BuildFailure: the daemon that should have it does not answer.
        """
        if self.images.find(environment) is None:
            return False
        images = self.images
        if images.daemon is not None:
            return images.daemon.inspect(f"{name_of(environment)}{WITH_BYTECODE}") is None
        destination = images.pusher.destination if images.pusher is not None else None
        return destination is not None and destination.manifest(_tag(environment)) is None

    def make(
        self, environment: str, lock: Lock, layers: Sequence[Layer], owners: Mapping[str, Path]
    ) -> Image:
        """Make the image of `layers`, which have their bytecode, and bring it where the other one is.

        `owners` says which tree each file of the environment is out of.

        Raises:
            BuildFailure: the daemon or registry is away or full.
        """
        parts: list[Part] = self.images.below(lock)
        tiers = plan_tiers(layers)
        # What a part hides depends on all below it, so they are made at once and told apart again.
        wheels = iter(self.images.groups([group for tier in tiers for group in tier]))
        for tier in tiers:
            parts += [next(wheels) for _ in tier]
            bytecode = BytecodePart([layer for group in tier for layer in group], owners)
            if bytecode.has_files:
                parts.append(bytecode)
        labels = {**self.images.labels(environment, lock), "python": self.compiler}
        work = ImageWork(self.images, environment, _tag(environment), parts, labels, silent)
        return work.run(lambda _image: ())


def _tag(environment: str) -> str:
    return f"{tag_of(environment)}{WITH_BYTECODE}"
