"""Looking at a directory to draft its `vitrine.yaml`. Nothing in it is run or imported."""

from vitrine.detection.directory import Draft, draft_directory

__all__ = ["Draft", "draft_directory"]
