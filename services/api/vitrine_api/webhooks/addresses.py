"""Which addresses a webhook may have: nobody reaches the platform's own network through one.

A name is resolved and every address checked, then the message goes to the very address that was checked:
a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from vitrine_common.errors import Invalid, Unavailable

MAX_LENGTH = 2000


@dataclass(frozen=True)
class Destination:
    """Where a message goes: `url` names the checked address, `host` and `server_name` who is meant."""

    url: str
    host: str
    server_name: str


def parse(url: str, field: str = "url") -> SplitResult:
    """Return the parts of a webhook's address. Raises Invalid, which names the field."""
    if len(url) > MAX_LENGTH or not url.isascii() or any(ord(character) <= 32 for character in url):
        raise Invalid(f"{field}: write an address of at most {MAX_LENGTH} characters, without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid(f"{field}: this is no address; write `https://example.org/hook`") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise Invalid(f"{field}: write `https://example.org/hook`")
    if parts.username is not None or parts.password is not None:
        raise Invalid(f"{field}: leave user and password out; the signature shows who sends")
    return parts


async def resolve(url: str, *, allow_private: bool, field: str = "url") -> Destination:
    """Return where a message to `url` goes.

    Raises Invalid for what is no webhook's address or not public, Unavailable when the name does not
    resolve.
    """
    parts = parse(url, field)
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = await _addresses(name, port)
    if not allow_private:
        refused = next((address for address in addresses if not is_public(address)), None)
        if refused is not None:
            raise Invalid(
                f"{field}: {name} is inside a private network ({refused}), where no message is sent"
            )
    address = addresses[0]
    place = f"[{address}]" if ":" in address else address
    target = parts._replace(netloc=f"{place}:{port}", fragment="").geturl()
    return Destination(target, parts.netloc, name)


async def _addresses(name: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"the name {name} does not resolve") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Say whether an address belongs to the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        # An IPv4 address in other clothes is judged as what it is.
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            parsed = inner
        elif parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
