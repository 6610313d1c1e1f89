"""Notifications: what an account is told, on its page, by e-mail and by webhooks."""

from vitrine_api.notifications.kinds import KINDS, Kind
from vitrine_api.notifications.mailing import Mailing
from vitrine_api.notifications.news import News, Notices
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_api.notifications.wishes import Wishes

__all__ = ["KINDS", "Kind", "Mailing", "News", "Notices", "NotificationRepository", "Wishes"]
