"""Settings shared by every service, read from the environment; each class has one prefix."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class NatsSettings(BaseSettings):
    """Where the bus is (`VITRINE_NATS_*`)."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_NATS_")

    url: str = Field(default="nats://127.0.0.1:4222", description="Server URL, credentials included.")
    replicas: int = Field(default=1, description="Replicas of each stream; 3 on a NATS cluster.")


class MongoSettings(BaseSettings):
    """Where state is (`VITRINE_MONGO_*`)."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_MONGO_")

    url: str = Field(default="mongodb://127.0.0.1:27017", description="Connection string.")
    database: str = Field(default="vitrine", description="Name of the database.")


class S3Settings(BaseSettings):
    """Where bytes are (`VITRINE_S3_*`)."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_S3_")

    endpoint: str = Field(default="http://127.0.0.1:9000", description="URL that the services use.")
    public_endpoint: str | None = Field(
        default=None, description="URL that command lines reach; presigned URLs are signed for it."
    )
    access_key: str = Field(default="vitrine", description="Name of the key pair.")
    secret_key: SecretStr = Field(default=SecretStr(""), description="Secret of the key pair.")
    region: str = Field(default="us-east-1", description="Region that requests are signed for.")
    bucket: str = Field(default="vitrine", description="Bucket that holds everything; made when missing.")


class PlatformSettings(BaseSettings):
    """What every service needs to reach the three servers and the shared host folders."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_")

    nats: NatsSettings = Field(default_factory=NatsSettings)
    mongo: MongoSettings = Field(default_factory=MongoSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    environments_dir: Path = Field(
        default=Path("/var/lib/vitrine/environments"),
        description="Host folder where the builder puts environments; runner and trainer read it, and fetch "
        "into it what a builder on another host has made.",
    )
    environments_bytes: int = Field(
        default=50 << 30,
        gt=0,
        description="Most that fetched environments may take on this host; what was not used for longest "
        "goes. Where a builder works in the folder, `VITRINE_BUILDER_STORE_BYTES` counts.",
    )
    shared_dir: Path | None = Field(
        default=None,
        description="Folder that api and runners on one machine share, best in memory (`/dev/shm`): tensors "
        "over 768 KiB pass through it instead of through S3, and the calls of an instance's only runner "
        "through a socket in it instead of through the bus.",
    )
    ready_fd: int | None = Field(default=None, description="Descriptor that gets one line once ready.")


class MetricsSettings(BaseSettings):
    """Where Prometheus reads metrics (`VITRINE_METRICS_*`); nowhere by default."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_METRICS_")

    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of `GET /metrics`, which asks for no password; without it there are none. `vitrine "
        "up` counts on from it: api, builder, runner, trainer, monitor.",
    )
    host: str = Field(default="127.0.0.1", description="Address that it listens on.")


class WorkSettings(BaseSettings):
    """How long work may go without a sign of life (`VITRINE_WORK_*`)."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_WORK_")

    lease_seconds: float = Field(default=10.0, gt=0, description="A lease's life; renewed at a third of it.")
    reap_seconds: float = Field(default=2.0, gt=0, description="Pause between two looks for dead leases.")
    relay_seconds: float = Field(default=1.0, gt=0, description="Pause between two looks for unsent facts.")
