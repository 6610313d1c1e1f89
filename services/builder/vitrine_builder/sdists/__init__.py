"""Source distributions: built to wheels in a sandbox, then treated like any other wheel."""

from vitrine_builder.sdists.build import BuiltWheel, Sdists
from vitrine_builder.sdists.sandbox import BuildLimits, BuildSandboxes

__all__ = ["BuildLimits", "BuildSandboxes", "BuiltWheel", "Sdists"]
