"""The api that these tests talk to."""

from api_instance import api

__all__ = ["api"]
