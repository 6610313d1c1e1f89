"""The use cases of the api, wired once per process."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from vitrine_api.account_export import AccountExport
from vitrine_api.accounts import Registry
from vitrine_api.audit import AuditLog
from vitrine_api.blind_texts import BlindTexts, platform_words
from vitrine_api.blind_use import BlindUse
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.claims.attesting import Attesting
from vitrine_api.claims.checks import Checks
from vitrine_api.claims.datasets import Datasets
from vitrine_api.claims.repository import Checks as CheckRepository
from vitrine_api.claims.repository import Datasets as DatasetRepository
from vitrine_api.collaborators import Collaborators
from vitrine_api.dashboard import Dashboard
from vitrine_api.dead_letters import DeadLetters
from vitrine_api.deletion import Collecting, Deleting, Erasing, Tombstones
from vitrine_api.deletion.manifests import Manifests
from vitrine_api.diff import Diffs
from vitrine_api.environments import Environments
from vitrine_api.grants import Grants
from vitrine_api.health import Health
from vitrine_api.idempotency import Idempotency
from vitrine_api.inference.programs import Programs
from vitrine_api.inference.service import Inference
from vitrine_api.inference.wiring import wire_inference
from vitrine_api.instance import Instance
from vitrine_api.invites import Invites
from vitrine_api.link_doors import Doors
from vitrine_api.links import Links
from vitrine_api.login_limits import LoginLimits
from vitrine_api.mail import FolderMailer, SmtpMailer
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.models import Models
from vitrine_api.monitoring import Monitoring
from vitrine_api.notifications import Mailing, Notices, NotificationRepository, Wishes
from vitrine_api.notifications.facts import Facts
from vitrine_api.notifications.watching import Watching
from vitrine_api.oidc import Identities, Provider
from vitrine_api.passwords import Passwords
from vitrine_api.policy import Principal, Visitor
from vitrine_api.progress import Hub
from vitrine_api.quotas import Quotas
from vitrine_api.rates import RateLimit
from vitrine_api.receipts import CatchUp, Receipts, Signer
from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_api.repository import Repository
from vitrine_api.repository.erasure import Deletions, Doomed, Erasure
from vitrine_api.repository.usage import Usage
from vitrine_api.resets import Credentials
from vitrine_api.roles import Roles
from vitrine_api.run_hooks import RunHooks
from vitrine_api.run_inputs import RunInputs
from vitrine_api.runners import Runners
from vitrine_api.runs import Runs
from vitrine_api.sessions import Sessions
from vitrine_api.settings import ApiSettings
from vitrine_api.tokens import Tokens
from vitrine_api.training import Training
from vitrine_api.uploads import Uploads
from vitrine_api.user_list import FolderMail, UserList, newest_mails
from vitrine_api.venues.desk import VenueDesk, wire_venues
from vitrine_api.versions import Versions
from vitrine_api.webhooks import Delivering, Hooks, WebhookRepository
from vitrine_common.documents import IdempotencyKey, Version
from vitrine_common.fleet import Fleet
from vitrine_common.service import Platform

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 600.0


@dataclass(frozen=True)
class Services:
    """What routes and handlers call."""

    settings: ApiSettings
    platform: Platform
    repository: Repository
    hub: Hub
    registry: Registry
    audit_log: AuditLog
    dashboard: Dashboard
    instance: Instance
    dead_letters: DeadLetters
    user_list: UserList
    sessions: Sessions
    tokens: Tokens
    invites: Invites
    uploads: Uploads
    models: Models
    environments: Environments
    diffs: Diffs
    versions: Versions
    runs: Runs
    inference: Inference
    programs: Programs
    idempotency: Idempotency
    fleet: Fleet
    runners: Runners
    links: Links
    doors: Doors
    blind_texts: BlindTexts
    link_use: BlindUse
    training: Training
    monitoring: Monitoring
    mailer: SmtpMailer | FolderMailer
    mail: MailOutbox
    notices: Notices
    wishes: Wishes
    mailing: Mailing
    facts: Facts
    watching: Watching
    hooks: Hooks
    run_hooks: RunHooks
    delivering: Delivering
    receipts: Receipts
    receipts_due: CatchUp
    datasets: Datasets
    checks: Checks
    attesting: Attesting
    venues: VenueDesk
    health: Health
    logins: LoginLimits
    provider: Provider
    identities: Identities
    credentials: Credentials
    collaborators: Collaborators
    roles: Roles
    quotas: Quotas
    account_export: AccountExport
    deleting: Deleting
    erasing: Erasing
    collecting: Collecting
    run_starts: RateLimit
    verifications: RateLimit

    async def sight(self, principal: Principal, version: Version | None) -> Sight:
        """Return what a principal sees of texts, digests and file names of a version's runs."""
        if not isinstance(principal, Visitor) or version is None:
            return EVERYTHING
        return await self.blind_texts.sight(principal.link, version)

    async def folder_mails(self) -> list[FolderMail]:
        """Return the newest mails of an instance without a mail server, for its operators."""
        return await newest_mails(self.mailer)

    async def sweep_forever(self) -> None:
        """Delete what has expired, every few minutes."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.repository.accounts.sweep()
                await self.uploads.sweep()
                await self.mail.sweep()
                await self.notices.sweep()
                await self.delivering.sweep()
                await self.repository.links.sweep()
                await self.idempotency.sweep()
            except Exception:
                log.exception("sweep will be tried again")


def wire(platform: Platform, settings: ApiSettings) -> Services:
    """Return the use cases over the platform's connections."""
    repository, blobs, bus, hub = Repository(platform.database), platform.blobs, platform.bus, Hub()
    smtp_url = settings.smtp_url.get_secret_value()
    signed = ReceiptRepository(platform.database)
    signer = Signer(settings.signing_key_file, signed, settings.base_url)
    receipts = Receipts(signed, signer, settings.base_url)
    check_documents = CheckRepository(platform.database)
    environments = Environments(repository, blobs, signer)
    health = Health(platform)
    mailer = SmtpMailer(smtp_url) if smtp_url else FolderMailer(settings.mail_dir)
    mail = MailOutbox(repository.mails, mailer, settings.mail_from, platform.holder)
    told = NotificationRepository(platform.database)
    mailing = Mailing(told, mail, settings.base_url)
    hook_documents = WebhookRepository(platform.database)
    private = settings.webhooks_to_private_networks
    delivering = Delivering(
        hook_documents,
        platform.holder,
        allow_private=private,
        timeout_seconds=settings.webhook_timeout_seconds,
    )
    notices = Notices(told, mailing, hook_documents, delivering, settings.base_url)
    delivering.on_switched_off = notices.webhook_switched_off
    run_hooks = RunHooks(hook_documents, delivering, hub, settings.base_url, allow_private=private)
    facts = Facts(notices, told, run_hooks)
    quotas = Quotas(Usage(platform.database), repository.accounts.users, notices, settings)
    grants = Grants(repository.bundles, Doomed(platform.database), blobs, quotas)
    uploads = Uploads(repository.bundles, blobs, settings, grants, quotas)
    models = Models(repository.bundles, blobs)
    inputs = RunInputs(repository.bundles, models, uploads, blobs)
    fleet = Fleet()
    instance = Instance(platform, repository, health, settings)
    runs = Runs(repository, inputs, bus, hub, settings, quotas, fleet)
    datasets = Datasets(DatasetRepository(platform.database), repository, blobs, grants)
    collaborators = Collaborators(repository, notices)
    passwords = Passwords()
    use = BlindUse(repository.links, repository.scores)
    doors = Doors(repository, passwords, mail, RateLimit("attempts", settings.door_rate))
    texts = BlindTexts(models, blobs, platform_words(platform.settings))
    links = Links(
        repository,
        models,
        runs,
        doors,
        passwords,
        texts,
        RateLimit("unknown links", settings.link_guess_rate),
        hub,
    )
    tokens = Tokens(repository.accounts)
    run_starts = RateLimit("runs", settings.run_rate)
    checks = Checks(check_documents, datasets, repository, uploads, bus, hub, settings, quotas, fleet)
    deletions, erasure = Deletions(platform.database), Erasure(platform.database)
    collecting = Collecting(Doomed(platform.database), blobs, settings.deletion_grace_seconds)
    erasing = Erasing(
        deletions,
        erasure,
        collecting,
        Tombstones(deletions, settings.tombstone_file),
        links,
        Manifests(erasure, blobs),
        uploads,
        quotas,
        bus,
        mailer,
    )
    return Services(
        settings=settings,
        platform=platform,
        repository=repository,
        hub=hub,
        audit_log=AuditLog(repository.accounts),
        dashboard=Dashboard(repository, use),
        registry=Registry(
            repository.accounts,
            passwords,
            collaborators,
            signup=settings.signup,
            owners_may_invite=settings.owners_may_invite,
        ),
        credentials=Credentials(repository, passwords, mail, settings.base_url),
        collaborators=collaborators,
        quotas=quotas,
        account_export=AccountExport(erasure),
        deleting=Deleting(
            repository, DatasetRepository(platform.database), models, deletions, erasing, passwords
        ),
        erasing=erasing,
        collecting=collecting,
        roles=Roles(repository.accounts),
        sessions=Sessions(repository.accounts, settings.session_seconds),
        tokens=tokens,
        invites=Invites(repository.accounts, collaborators, mail, settings.base_url),
        uploads=uploads,
        models=models,
        environments=environments,
        diffs=Diffs(models, blobs, environments, checks),
        versions=Versions(repository, blobs, datasets, grants, quotas),
        datasets=datasets,
        checks=checks,
        attesting=Attesting(check_documents, receipts),
        venues=wire_venues(platform, settings, repository, models, runs, checks, links, texts, mail, notices),
        runs=runs,
        idempotency=Idempotency(platform.database.collection(IdempotencyKey), runs),
        programs=Programs(runs, texts, blobs, run_starts, settings),
        inference=wire_inference(platform, settings, repository, tokens, models, links, quotas, fleet),
        links=links,
        doors=doors,
        blind_texts=texts,
        link_use=use,
        training=Training(repository, blobs, bus, hub, settings, grants),
        monitoring=Monitoring(repository.scores, use),
        mailer=mailer,
        mail=mail,
        notices=notices,
        wishes=Wishes(told),
        mailing=mailing,
        facts=facts,
        watching=Watching(notices, facts, told, use),
        hooks=Hooks(hook_documents, delivering, allow_private=private),
        run_hooks=run_hooks,
        delivering=delivering,
        receipts=receipts,
        receipts_due=CatchUp(signed, receipts, settings.receipt_catch_up_seconds),
        health=health,
        fleet=fleet,
        instance=instance,
        runners=Runners(instance, repository),
        dead_letters=DeadLetters(bus, repository.accounts),
        user_list=UserList(repository.accounts, quotas),
        logins=LoginLimits(repository.accounts, settings.login_rate),
        provider=Provider(settings),
        identities=Identities(repository.accounts, settings),
        run_starts=run_starts,
        verifications=RateLimit("verifications", settings.run_rate),
    )
