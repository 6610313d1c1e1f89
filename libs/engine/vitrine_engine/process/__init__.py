"""The process engine: sandboxes made with bubblewrap on this host, without a daemon or images."""

from vitrine_engine.process.engine import ProcessEngine

__all__ = ["ProcessEngine"]
