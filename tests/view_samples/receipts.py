"""The page that checks receipts, with what it finds."""

from __future__ import annotations

from dataclasses import replace

import receipt_samples as samples
from view_samples.visitor import ANONYMOUS
from vitrine_api import views as v
from vitrine_api.presenters.receipts import finding
from vitrine_common.digests import sha256_bytes
from vitrine_common.receipts.commitments import key_of
from vitrine_common.receipts.keys import WELL_KNOWN
from vitrine_common.receipts.openings import Claimed, Opening
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.receipts.statement import Blind
from vitrine_common.receipts.verification import verify

_KEY = PrivateKey.generate()
_KEYS = samples.keys(_KEY)
_OPENING = Opening(key_of("link"), (Claimed("bundle", "ada/digits@3", sha256_bytes(b"bundle")),))
_EMPTY = v.Verify(instance=samples.URL, keys_url=WELL_KNOWN)


def _checked(receipt: bytes, opening: Opening | None = None, file: bytes | None = None) -> v.Verify:
    digest = sha256_bytes(file) if file is not None else None
    found = finding(verify(receipt, _KEYS), opening, digest)
    return replace(_EMPTY, receipt=receipt.decode(errors="replace"), finding=found)


_RUN = samples.run_receipt(_KEY)
RECEIPT_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    name: (view, replace(ANONYMOUS, path="/verify"))
    for name, view in {
        "verify": _EMPTY,
        "verify-run": replace(_checked(_RUN, file=samples.PICTURE), back_url="/runs/run_01"),
        "verify-failed-run": _checked(samples.run_receipt(_KEY, facts=samples.FAILED), file=b"another"),
        "verify-claim": _checked(samples.claim_receipt(_KEY)),
        "verify-blind": _checked(samples.run_receipt(_KEY, Blind(key_of("link"))), file=samples.PICTURE),
        "verify-opened": _checked(
            samples.run_receipt(_KEY, Blind(key_of("link"))), _OPENING, file=samples.PICTURE
        ),
        "verify-altered": _checked(_RUN.replace(b'"sig":"', b'"sig":"A', 1)),
        "verify-unknown": _checked(samples.run_receipt(PrivateKey.generate())),
    }.items()
}
