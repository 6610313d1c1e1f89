"""Synchronous calls of models: the Open Inference Protocol, and what stands behind it."""
