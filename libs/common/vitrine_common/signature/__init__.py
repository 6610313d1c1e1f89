"""Inputs and outputs of author code, read from its text. Nothing is imported or run."""

from vitrine_common.signature.predictors import Interface, read_interface
from vitrine_common.signature.resolve import resolved

__all__ = ["Interface", "read_interface", "resolved"]
