"""Protocol-level questions to the stack's own servers: does it speak, does it let us in, can it work.

Plain sockets on purpose: the drivers start threads, and the process that asks forks the services.
Every probe returns False for anything but a good answer and never blocks for more than a second or two.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from io import BufferedRWPair

import bson

_SECONDS = 1.5
_OP_MSG = 2013


def tcp_answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), _SECONDS):
            return True
    except OSError:
        return False


def nats_answers(host: str, port: int, user: str, password: str) -> bool:
    """Whether the server authenticates us and its JetStream answers (`$JS.API.INFO`)."""
    try:
        with socket.create_connection((host, port), _SECONDS) as connection:
            stream = connection.makefile("rwb")
            if not stream.readline().startswith(b"INFO "):
                return False
            options = {"user": user, "pass": password, "verbose": False, "pedantic": False, "lang": "probe"}
            stream.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
            stream.write(b"SUB _INBOX.probe 1\r\nPUB $JS.API.INFO _INBOX.probe 0\r\n\r\nPING\r\n")
            stream.flush()
            return _jetstream_answered(stream)
    except (OSError, ValueError):
        return False


def _jetstream_answered(stream: BufferedRWPair) -> bool:
    for line in iter(stream.readline, b""):
        if line.startswith(b"-ERR"):
            return False
        if line.startswith(b"MSG "):
            answer = json.loads(stream.read(int(line.split()[-1])))
            return "error" not in answer
    return False


def mongo_answers(host: str, port: int) -> bool:
    """Whether the server answers `ping` with ok (OP_MSG of the MongoDB wire protocol)."""
    body = struct.pack("<IB", 0, 0) + bson.encode({"ping": 1, "$db": "admin"})
    message = struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body
    try:
        with socket.create_connection((host, port), _SECONDS) as connection:
            connection.sendall(message)
            stream = connection.makefile("rb")
            length, _, _, code = struct.unpack("<iiii", stream.read(16))
            answer = stream.read(length - 16)
            return code == _OP_MSG and bson.decode(answer[5:]).get("ok") == 1
    except (OSError, struct.error, bson.errors.BSONError):
        return False


def s3_answers(host: str, port: int) -> bool:
    """Whether an S3 server answers: a request without signature is refused, not served."""
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status in {400, 401, 403}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
