"""Settings of the api (`VITRINE_API_*`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1 << 20
DAY = 24 * 3600
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


class ApiSettings(BaseSettings):
    """What an operator may choose. Sizes in bytes, times in seconds, rates per minute."""

    model_config = SettingsConfigDict(env_prefix="VITRINE_API_")

    host: str = Field(default="127.0.0.1", description="Address that is listened on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    state_dir: Path = Field(
        default=Path("/var/lib/vitrine/api"),
        description="Folder for the journal of synchronous calls: what was answered and is not yet in the "
        "database. Several processes may share it.",
    )
    journal_sync_seconds: float = Field(
        default=0.2,
        ge=0,
        description="How often the journal is forced to disk; what came since is lost when the machine (not "
        "just the process) dies. 0: every answer waits for it.",
    )
    public_url: str = Field(
        default="", description="How people reach the api; printed in links. Without it, host and port."
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, comma-separated.",
    )
    stop_seconds: int = Field(default=10, ge=1, description="How long open requests may go on at a stop.")

    max_body_bytes: int = Field(default=1 * MIB, description="Largest JSON body or plain form.")
    max_manifest_bytes: int = Field(default=16 * MIB, description="Largest manifest.")
    max_run_bytes: int = Field(
        default=128 * MIB, description="Largest body of a run request, files included."
    )
    max_blob_bytes: int = Field(default=128 * MIB, description="Largest file sent through the api.")
    part_bytes: int = Field(default=32 * MIB, description="Size of an upload's parts.")
    upload_seconds: int = Field(default=DAY, description="How long an upload may take.")

    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="Mail server, `smtp://user:password@host:587` or `smtps://…`. Without one, mail is "
        "written to `VITRINE_API_MAIL_DIR`.",
    )
    mail_from: str = Field(default="Vitrine <vitrine@localhost>", description="Who mail comes from.")
    mail_dir: Path = Field(
        default=Path("/var/lib/vitrine/mails"), description="Where mail is written without a mail server."
    )

    webhooks_to_private_networks: bool = Field(
        default=False, description="Whether webhooks may have addresses inside private networks."
    )
    webhook_timeout_seconds: float = Field(
        default=15.0, gt=0, le=45, description="For one try to hand a message to a webhook."
    )

    signing_key_file: Path | None = Field(
        default=None,
        description="File of the Ed25519 key that signs receipts, PEM, mode 0600; made when missing. Without "
        "it no receipts are issued.",
    )
    receipt_catch_up_seconds: float = Field(
        default=60.0, gt=0, description="Pause between two looks for ended runs without a receipt."
    )

    signup: Literal["open", "invite", "closed"] = Field(
        default="invite", description="Who may make an account: anybody, whoever has an invite, nobody."
    )
    owners_may_invite: bool = Field(
        default=True,
        description="Whether invites to work on a model make accounts; without it, only those of operators.",
    )
    oidc_issuer: str = Field(
        default="",
        description="Provider that people may log in by (OpenID Connect), as it calls itself, "
        "`https://login.example.org`; its answers come back to `/login/oidc/callback`.",
    )
    oidc_client_id: str = Field(default="", description="What the provider calls this instance.")
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="This instance's secret at the provider; none for a public client."
    )
    oidc_name: str = Field(
        default="single sign-on", max_length=60, description="What people call the provider, on the button."
    )
    oidc_domains: str = Field(
        default="", description="Domains whose addresses may log in by the provider, comma-separated; all."
    )
    oidc_creates_accounts: bool = Field(
        default=False,
        description="Whether whoever logs in by the provider gets an account, without an invite, whatever "
        "`VITRINE_API_SIGNUP` says.",
    )
    oidc_trusts_emails: bool = Field(
        default=False,
        description="Whether addresses count as verified though the provider does not say so; for providers "
        "whose administrators alone give addresses.",
    )
    venue_checks_at_once: int = Field(
        default=4, ge=1, description="Runs and claim checks of one venue's submissions under way at a time."
    )

    max_storage_bytes: int = Field(
        default=20 << 30, ge=0, description="Bytes that an account may keep, unless it has its own quota."
    )
    max_runs_per_day: int = Field(
        default=5000, ge=0, description="Runs of an account's models a day (UTC), by links included."
    )
    max_build_seconds_per_day: int = Field(
        default=4 * 3600, ge=0, description="Build time of an account's versions a day (UTC)."
    )
    build_reserve_seconds: int = Field(
        default=600, ge=0, description="Build time reserved for a build until it has ended; charged at most."
    )
    deletion_grace_seconds: float = Field(
        default=3600.0, ge=0, description="How long blobs stay after a deletion left them unused."
    )
    tombstone_file: Path | None = Field(
        default=None,
        description="File that remembers what was deleted, outside of the database, so that a restore of an "
        "older backup does not bring it back.",
    )
    session_seconds: int = Field(default=14 * DAY, description="Life of a web login.")
    token_seconds: int = Field(default=365 * DAY, description="Life of a token made by a login.")
    run_wait_seconds: int = Field(default=3600, description="How long a run may wait to be begun.")
    call_wait_seconds: float = Field(
        default=60.0, gt=0, description="How long a synchronous call may wait to be begun; then it gets 503."
    )
    prefer_wait_seconds: float = Field(default=60.0, description="Longest `Prefer: wait=`.")
    recheck_seconds: float = Field(default=3.0, gt=0, description="Pause between looks at the database.")

    login_rate: int = Field(
        default=10,
        ge=1,
        description="Logins per minute from one address to one account, and from one known browser; ten "
        "times as many from one address, and from all unknown browsers to one account.",
    )
    link_guess_rate: int = Field(default=30, ge=1, description="Unknown links per minute and address.")
    door_rate: int = Field(
        default=30,
        ge=1,
        description="Passcodes and codes tried or asked for per minute and address, and link.",
    )
    run_rate: int = Field(default=240, ge=1, description="Runs per minute and account, or link and address.")
    call_rate: int = Field(
        default=60_000,
        ge=1,
        description="Synchronous calls per minute and account, or link and address.",
    )

    @model_validator(mode="after")
    def _provider_is_whole(self) -> ApiSettings:
        if not self.oidc_issuer:
            return self
        if not is_safe_address(self.oidc_issuer):
            raise ValueError("VITRINE_API_OIDC_ISSUER: is no https address")
        if not self.oidc_client_id:
            raise ValueError("VITRINE_API_OIDC_CLIENT_ID: is missing, and the provider needs it")
        return self

    @property
    def base_url(self) -> str:
        """How people reach the api, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers reach the api by https alone."""
        return self.base_url.startswith("https://")


def is_safe_address(url: str) -> bool:
    """Say whether what is sent there stays between the two: https, or this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
