"""Receipts: issued once for each finished run and checked claim, signed with the instance's key."""

from vitrine_api.receipts.catching_up import CatchUp
from vitrine_api.receipts.issuing import Receipts
from vitrine_api.receipts.signing import NoSigningKey, Signer

__all__ = ["CatchUp", "NoSigningKey", "Receipts", "Signer"]
