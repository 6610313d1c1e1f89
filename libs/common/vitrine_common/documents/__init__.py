"""Every stored document, by the service that writes it."""

from vitrine_common.documents.account import ApiToken, Invite, Role, Scope, Session, User
from vitrine_common.documents.audit import AuditEntry
from vitrine_common.documents.base import LONG_AGO, Document, Index, Leased, WorkDocument
from vitrine_common.documents.build import Build, Environment, EnvironmentLayer
from vitrine_common.documents.claim import CheckDataset, ClaimCheck, ClaimCheckRequest, OwnInput, Repeat
from vitrine_common.documents.dataset import Dataset, DatasetVersion
from vitrine_common.documents.link import LinkAttempts, LinkCode, LinkPass, ShareLink
from vitrine_common.documents.mail import Mail
from vitrine_common.documents.model import BlobGrant, BuildProblem, Lineage, Model, Upload, Version
from vitrine_common.documents.notification import Notification, NotificationWishes
from vitrine_common.documents.receipt import Receipt, SigningKey
from vitrine_common.documents.run import Conditions, Output, Run, RunRequest, Timings
from vitrine_common.documents.scoring import InputSummary, OutputSummary, ScoringRecord
from vitrine_common.documents.trial import Checkpoint, MetricPoint, ResourceSample, TrainRequest, Trial
from vitrine_common.documents.webhook import Webhook, WebhookDelivery

COLLECTIONS: tuple[type[Document], ...] = (
    User,
    Session,
    ApiToken,
    Invite,
    AuditEntry,
    Model,
    Version,
    Upload,
    BlobGrant,
    ShareLink,
    LinkPass,
    LinkCode,
    LinkAttempts,
    Mail,
    Notification,
    NotificationWishes,
    Webhook,
    WebhookDelivery,
    RunRequest,
    TrainRequest,
    Dataset,
    DatasetVersion,
    ClaimCheckRequest,
    Build,
    Environment,
    Run,
    ClaimCheck,
    Trial,
    MetricPoint,
    ResourceSample,
    Checkpoint,
    ScoringRecord,
    Receipt,
    SigningKey,
)

__all__ = [
    "COLLECTIONS",
    "LONG_AGO",
    "ApiToken",
    "AuditEntry",
    "BlobGrant",
    "Build",
    "BuildProblem",
    "CheckDataset",
    "Checkpoint",
    "ClaimCheck",
    "ClaimCheckRequest",
    "Conditions",
    "Dataset",
    "DatasetVersion",
    "Document",
    "Environment",
    "EnvironmentLayer",
    "Index",
    "InputSummary",
    "Invite",
    "Leased",
    "Lineage",
    "LinkAttempts",
    "LinkCode",
    "LinkPass",
    "Mail",
    "MetricPoint",
    "Model",
    "Notification",
    "NotificationWishes",
    "Output",
    "OutputSummary",
    "OwnInput",
    "Receipt",
    "Repeat",
    "ResourceSample",
    "Role",
    "Run",
    "RunRequest",
    "Scope",
    "ScoringRecord",
    "Session",
    "ShareLink",
    "SigningKey",
    "Timings",
    "TrainRequest",
    "Trial",
    "Upload",
    "User",
    "Version",
    "Webhook",
    "WebhookDelivery",
    "WorkDocument",
]
