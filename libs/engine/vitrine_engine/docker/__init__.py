"""The docker engine: sandboxes as containers of a Docker daemon on this host."""

from vitrine_engine.docker.engine import DockerEngine

__all__ = ["DockerEngine"]
