"""Which Debian packages a request asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_common.debian import MAX_BYTES, PackageListError, check_packages, parse_packages
from vitrine_common.errors import NotFound, TooLarge
from vitrine_common.messages import EnvironmentRequest


async def wanted_packages(
    request: EnvironmentRequest, read_blob: Callable[[str, int], Awaitable[bytes]]
) -> tuple[str, ...]:
    """Return the packages that `request` lists and those of its file, as `name` or `name=version`.

    Raises:
        BuildFailure: one is no name of a Debian package, or the file is not there.
    """
    name = request.system_file_name
    listed = tuple(request.system)
    try:
        if request.system_file_digest is not None:
            listed += parse_packages(await read_blob(request.system_file_digest, MAX_BYTES), name)
        return check_packages(listed)
    except PackageListError as error:
        raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, f"{error}.") from None
    except TooLarge:
        sentence = f"{name}: the file has more than {MAX_BYTES} bytes; name one package a line."
        raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence) from None
    except NotFound:
        sentence = f"{name}: the file's bytes are not on the platform; push the bundle again."
        raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence) from None
