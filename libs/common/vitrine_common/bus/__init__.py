"""The bus: broker factory, delivery rules, streams, publishing."""

from vitrine_common.bus.broker import Bus, make_broker, on, on_live
from vitrine_common.bus.delivery import Poison

__all__ = ["Bus", "Poison", "make_broker", "on", "on_live"]
