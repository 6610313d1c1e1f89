"""Projects of other tools, pushed as they are: what their own files say, as the spec of a version."""

from vitrine_common.projects.found import Found, find_bare_model, find_project

__all__ = ["Found", "find_bare_model", "find_project"]
