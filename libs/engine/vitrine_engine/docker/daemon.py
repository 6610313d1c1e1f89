"""The Docker Engine API, as far as sandboxes need it: asynchronous, without threads.

Source: the Docker Engine API, version 1.41 and later. Paths carry no version: a daemon answers with its own.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from vitrine_engine.protocol import EngineError

DEFAULT_URL = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 60.0
PULL_SECONDS = 1800.0
WAY_OUT = "start Docker, or point DOCKER_HOST at a daemon that answers"


class DaemonError(EngineError):
    """The daemon refused or did not answer; `status` is its HTTP status, None where it was not reached."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def default_url() -> str:
    """Return where Docker's own command line would look: `DOCKER_HOST`, else the standard socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_URL


class Daemon:
    """One daemon. Belongs to the event loop that first asks it; every call raises `DaemonError`."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or default_url()
        self.leftovers: set[str] = set()
        """Containers that could not be removed because the daemon did not answer."""
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> httpx.Response:
        """Send one request and return the answer; anything but success raises."""
        if self._client is None:
            self._client = _connect(self.url)
        headers = {"Content-Type": "application/x-tar"} if content is not None else None
        try:
            answer = await self._client.request(
                method, path, json=body, content=content, params=params, headers=headers, timeout=seconds
            )
        except (httpx.HTTPError, OSError) as error:
            said = str(error) or type(error).__name__
            raise DaemonError(f"no Docker daemon answers at {self.url} ({said}): {WAY_OUT}") from error
        if answer.status_code >= 400:
            raise DaemonError(f"Docker: {_message(answer)}", answer.status_code)
        return answer

    async def info(self) -> dict[str, Any]:
        """Return what the daemon says about itself and its host."""
        found: dict[str, Any] = (await self.ask("GET", "/info", seconds=15)).json()
        return found

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container and return its id."""
        answer = await self.ask("POST", "/containers/create", body=config, params={"name": name})
        return str(answer.json()["Id"])

    async def start(self, container: str) -> None:
        """Start a created container."""
        await self.ask("POST", f"/containers/{container}/start")

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return all about a container."""
        found: dict[str, Any] = (await self.ask("GET", f"/containers/{container}/json")).json()
        return found

    async def resize(self, container: str, limits: Mapping[str, int]) -> None:
        """Change a container's limits."""
        await self.ask("POST", f"/containers/{container}/update", body=limits)

    async def stats(self, container: str) -> dict[str, Any]:
        """Measure a container once."""
        params = {"stream": "false", "one-shot": "true"}
        found: dict[str, Any] = (
            await self.ask("GET", f"/containers/{container}/stats", params=params)
        ).json()
        return found

    async def said(self, container: str) -> str:
        """Return what the container's first process wrote."""
        params = {"stdout": "true", "stderr": "true", "tail": "50"}
        answer = await self.ask("GET", f"/containers/{container}/logs", params=params)
        return _demultiplexed(answer.content).decode(errors="replace")

    async def kill(self, container: str) -> None:
        """Kill a container; one that does not run is no error."""
        try:
            await self.ask("POST", f"/containers/{container}/kill")
        except DaemonError as error:
            if error.status not in {404, 409}:
                raise

    async def remove(self, container: str) -> None:
        """Kill and remove a container; one that is gone, or on its way, is no error."""
        try:
            await self.ask("DELETE", f"/containers/{container}", params={"force": "true", "v": "true"})
        except DaemonError as error:
            if error.status not in {404, 409}:
                raise

    async def remove_surely(self, container: str) -> None:
        """Remove a container now, or note it in `leftovers`; never raises."""
        try:
            await self.remove(container)
        except DaemonError:
            self.leftovers.add(container)
        else:
            self.leftovers.discard(container)

    async def labelled(self, label: str) -> list[dict[str, Any]]:
        """Return the containers, running or not, that carry a label (`key` or `key=value`)."""
        params = {"all": "true", "filters": json.dumps({"label": [label]})}
        found: list[dict[str, Any]] = (await self.ask("GET", "/containers/json", params=params)).json()
        return found

    async def image_id(self, reference: str) -> str | None:
        """Return the id of an image, or None where the daemon lacks it."""
        try:
            return str((await self.ask("GET", f"/images/{reference}/json")).json()["Id"])
        except DaemonError as error:
            if error.status == 404:
                return None
            raise

    async def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""
        answer = await self.ask(
            "POST", "/images/create", params={"fromImage": reference}, seconds=PULL_SECONDS
        )
        for line in answer.text.splitlines():
            if "error" in (said := json.loads(line)):
                raise DaemonError(f"Docker: {said['error']}")

    async def holds(self, container: str, path: str) -> bool:
        """Whether a container's file system has something at `path`."""
        try:
            await self.ask("HEAD", f"/containers/{container}/archive", params={"path": path})
        except DaemonError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def put(self, container: str, archive: bytes) -> None:
        """Unpack a tar archive at a container's root."""
        await self.ask("PUT", f"/containers/{container}/archive", content=archive, params={"path": "/"})

    async def commit(self, container: str, repository: str, tag: str) -> None:
        """Make an image of a container."""
        params = {"container": container, "repo": repository, "tag": tag}
        await self.ask("POST", "/commit", body={}, params=params)


def _connect(url: str) -> httpx.AsyncClient:
    kind, _, place = url.partition("://")
    if kind == "unix":
        return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=place), base_url="http://docker")
    if kind not in {"tcp", "http", "https"}:
        raise DaemonError(f"{url} is no Docker address: use unix://, tcp:// or https://")
    certificates = os.environ.get("DOCKER_CERT_PATH")
    if kind == "https" or (os.environ.get("DOCKER_TLS_VERIFY") and certificates):
        context = ssl.create_default_context(
            cafile=str(Path(certificates, "ca.pem")) if certificates else None
        )
        if certificates:
            context.load_cert_chain(Path(certificates, "cert.pem"), Path(certificates, "key.pem"))
        return httpx.AsyncClient(verify=context, base_url=f"https://{place}", trust_env=False)
    return httpx.AsyncClient(base_url=f"http://{place}", trust_env=False)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500] or answer.reason_phrase


def _demultiplexed(stream: bytes) -> bytes:
    """Drop the 8 byte headers by which Docker tells output from error."""
    found = b""
    while len(stream) >= 8:
        size = int.from_bytes(stream[4:8], "big")
        found += stream[8 : 8 + size]
        stream = stream[8 + size :]
    return found
