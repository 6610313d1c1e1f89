"""What the api does for checks of claims, played by tests: datasets stored, checks asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from runner_site import BARE, PATIENCE_SECONDS, Site
from vitrine_common.bundle import DATASET_SPEC, FileEntry, Manifest
from vitrine_common.clock import after
from vitrine_common.digests import canonical_json
from vitrine_common.documents import CheckDataset, ClaimCheck, ClaimCheckRequest, OwnInput
from vitrine_common.ids import new_id
from vitrine_common.messages import ClaimCheckStart
from vitrine_common.spec import Claim
from vitrine_common.states import CLAIM_CHECK, ClaimState


def claim_of(**fields: Any) -> Claim:
    """A claim with sample values for what a test does not care about."""
    known = {"name": "accuracy", "statement": "It is good.", "command": "python main.py", "expected": 0.9}
    return Claim.model_validate({**known, **fields})


async def dataset(site: Site, files: Mapping[str, bytes], name: str = "held", **fields: Any) -> CheckDataset:
    """Store a dataset's files and manifest."""
    entries = [
        FileEntry(path=path, digest=await site.blobs.put_bytes(data), size=len(data))
        for path, data in files.items()
    ]
    manifest = Manifest(spec=DATASET_SPEC, files=tuple(entries))
    await site.blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")))
    return CheckDataset(name=name, number=1, digest=manifest.digest, **fields)


async def own_input(site: Site, name: str, data: bytes, label: str | None = None) -> OwnInput:
    """Store a file that whoever checks the claim adds."""
    digest = await site.blobs.put_bytes(data)
    return OwnInput(name=name, filename=name, digest=digest, size=len(data), label=label)


async def ask_check(site: Site, digest: str, claim: Claim, **fields: Any) -> str:
    """Ask for a check as the api does; return its id."""
    values: dict[str, Any] = {
        "id": new_id("check"),
        "version_id": "ver_1",
        "version_digest": digest,
        "environment_digest": BARE,
        "owner_id": "usr_1",
        "claim_name": claim.name,
        "claim": canonical_json(claim.plain()).decode(),
        "expires_at": after(60),
        **fields,
    }
    request = ClaimCheckRequest(**values)
    await site.database.collection(ClaimCheckRequest).insert(request, [ClaimCheckStart(check_id=request.id)])
    return request.id


async def check_reached(site: Site, check_id: str, *states: ClaimState) -> ClaimCheck:
    """Wait until the check is in one of `states`."""
    check = None
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while check is None or check.state not in states:
                await asyncio.sleep(0.02)
                check = await site.database.collection(ClaimCheck).find_one({"_id": check_id})
    assert check is not None, f"nobody took {check_id}"
    assert check.state in states, check
    return check


async def checked(site: Site, code: str, claim: Claim, **fields: Any) -> ClaimCheck:
    """Push a script, have `claim` checked on it, and return the check when it is over."""
    digest = await site.script(code, claims=[claim.plain()])
    return await check_reached(site, await ask_check(site, digest, claim, **fields), *CLAIM_CHECK.final)
