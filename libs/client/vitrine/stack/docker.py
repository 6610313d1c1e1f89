"""Whether a Docker daemon answers, asked without its client library: before anything is started."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from vitrine.stack.errors import StackError

_SECONDS = 5.0
_DEFAULT_URL = "unix:///var/run/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_SECONDS)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


def require_docker(environment: Mapping[str, str] = os.environ) -> None:
    """Raise StackError, saying what to do, when no Docker daemon answers that this user may use.

    A daemon at another address than a Unix socket is taken at its word: the services ask it.
    """
    url = environment.get("DOCKER_HOST") or _DEFAULT_URL
    if not url.startswith("unix://"):
        return
    connection = _UnixConnection(url.removeprefix("unix://"))
    try:
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        reason = "" if answer.status == 200 else f"it answers {answer.status}"
    except PermissionError:
        reason = f"this user may not open {Path(url.removeprefix('unix://'))} (the group `docker` may)"
    except OSError as error:
        reason = error.strerror or str(error)
    finally:
        connection.close()
    if reason:
        raise StackError(
            f"--engine docker needs a Docker daemon, and none can be used at {url}: {reason}. Start Docker, "
            "point DOCKER_HOST at a daemon, or leave --engine out: models then run without Docker."
        )
