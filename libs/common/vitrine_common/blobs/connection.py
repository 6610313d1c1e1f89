"""The driver's client, with limits on how long a server that does not answer can hold anybody up."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from urllib3.util import Retry, Timeout

from vitrine_common.errors import Invalid
from vitrine_common.settings import S3Settings

CONNECT_SECONDS = 2.0
READ_SECONDS = 20.0


def make_client(settings: S3Settings, endpoint: str, connections: int) -> Any:
    """Return a client for `endpoint` that keeps up to `connections` of them open.

    The region is given, so that no request is spent on asking for it, and signing needs no network.
    """
    url = urlsplit(endpoint)
    if url.scheme not in {"http", "https"} or not url.netloc or url.path.strip("/"):
        raise Invalid(f"the S3 endpoint {endpoint!r} is no URL: write it as http://host:port")
    return Minio(
        url.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret_key.get_secret_value(),
        region=settings.region,
        secure=url.scheme == "https",
        http_client=_pool(connections),
    )


def _pool(connections: int) -> urllib3.PoolManager:
    # An unreachable server is reported after two attempts to connect. One more read, because a
    # server that restarted has closed the connections that are kept open.
    retries = Retry(
        total=2, connect=1, read=1, redirect=0, status=1, backoff_factor=0.1, status_forcelist=(502, 503, 504)
    )
    return urllib3.PoolManager(
        maxsize=connections,
        timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
    )
