"""Webhooks: an account's own programs are told of its news, signed, and again until they answer."""

from vitrine_api.webhooks.delivering import Delivering
from vitrine_api.webhooks.hooks import MAX_HOOKS, Hooks
from vitrine_api.webhooks.repository import WebhookRepository

__all__ = ["MAX_HOOKS", "Delivering", "Hooks", "WebhookRepository"]
