"""The docker engine: sandboxes as containers of a Docker daemon on this host."""

from vitrine_engine.docker.engine import BASE_IMAGE, DockerEngine

__all__ = ["BASE_IMAGE", "DockerEngine"]
