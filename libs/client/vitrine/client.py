"""The Python client of a Vitrine platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from vitrine import push as pushing
from vitrine.claims import Claims
from vitrine.config import Config, config_dir, load_config
from vitrine.diffs import Diff, diff
from vitrine.environments import Environments
from vitrine.operator import Operator
from vitrine.push import PushWatch
from vitrine.receipts import Receipts
from vitrine.references import LinkAddress, Reference, parse_link, parse_reference
from vitrine.results import (
    Account,
    ApiToken,
    Dataset,
    Invite,
    Link,
    Login,
    Model,
    Monitoring,
    Page,
    PlatformStatus,
    Run,
    Trial,
    Version,
)
from vitrine.runs import Heard, Runs, Shared
from vitrine.sse import ServerEvent
from vitrine.transport import Patience, Transport
from vitrine.venues import Venues
from vitrine.webhooks import News

Ref = str | Reference
_STORE_TIMEOUT = httpx.Timeout(30, read=300, write=300)


def _store_client() -> httpx.Client:
    return httpx.Client(timeout=_STORE_TIMEOUT)


class Client:
    """Calls one platform; use it as a context manager, or `close()` it. Threads may share it.

    Every method raises a `vitrine.errors.ClientError`: Unreachable when nothing answers, LoginNeeded,
    NotFound, Gone or another Refused when the platform says no.

    Args:
        url: the platform; without it, what `vitrine login` kept (or `VITRINE_URL`).
        token: an API token; without it, that of the same login (or `VITRINE_TOKEN`).
        transport: httpx transport for calls, `store_client` makes the client for presigned addresses.
        journal: directory that remembers interrupted uploads.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        store_client: Callable[[], httpx.Client] = _store_client,
        journal: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        known = load_config() if url is None else Config(url)
        timeout = httpx.Timeout(30, read=120)
        self._patience = patience
        self._http = httpx.Client(timeout=timeout, transport=transport)
        self._transport = Transport(known.url, token or known.token, http=self._http, patience=patience)
        self._store_client = store_client
        self._journal = journal or config_dir() / "uploads"
        self.runs_of_account = Runs(self._transport, "/runs")
        self.receipts = Receipts(self._transport)
        self.environments = Environments(self._transport)
        self.news = News(self._transport)
        self.operator = Operator(self._transport)
        self.venues = Venues(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def url(self) -> str:
        """The platform's address."""
        return self._transport.url

    # Accounts

    def login(self, email: str, password: str, label: str | None = None) -> Login:
        """Get a token, and use it from now on. Raises LoginNeeded when e-mail and password do not fit."""
        body = {"email": email, "password": password} | ({"label": label} if label else {})
        found = Login.model_validate(self._call("POST", "/login", json=body))
        self._transport.token = found.token
        return found

    def logout(self) -> None:
        """Revoke the token in use."""
        self._call("POST", "/logout")
        self._transport.token = None

    def whoami(self) -> Account:
        """Return who is logged in."""
        return Account.model_validate(self._call("GET", "/whoami"))

    def tokens(self) -> Page[ApiToken]:
        """Return the account's API tokens."""
        return Page[ApiToken].model_validate(self._call("GET", "/tokens"))

    def make_token(self, label: str, scopes: tuple[str, ...] = (), expires: str | None = None) -> ApiToken:
        """Make an API token; `scopes` are of read, write and run, `expires` is a duration such as `90d`."""
        body: dict[str, Any] = {"label": label}
        body |= {"scopes": list(scopes)} if scopes else {}
        body |= {"expires": expires} if expires else {}
        return ApiToken.model_validate(self._call("POST", "/tokens", json=body))

    def revoke_token(self, token_id: str) -> None:
        """Make an API token worthless. Raises NotFound."""
        self._call("DELETE", f"/tokens/{quote(token_id, safe='')}")

    def invite(self, email: str | None = None, expires: str | None = None) -> Invite:
        """Make an invitation (operators only)."""
        body = {"email": email} if email else {}
        return Invite.model_validate(
            self._call("POST", "/invites", json=body | ({"expires": expires} if expires else {}))
        )

    def delete(self, kind: str, reference: str) -> str:
        """Delete a model, version, dataset or link for good; return the deletion's id. Raises NotFound."""
        body = {"kind": kind, "reference": reference, "confirm": reference}
        return str(self._call("POST", "/deletions", json=body)["id"])

    def delete_account(self, name: str, password: str) -> None:
        """Delete the account with everything it owns; `name` is the account's, once more."""
        self._call("POST", "/account/deletion", json={"confirm": name, "password": password})

    def export_account(self, path: Path | str) -> int:
        """Write everything that the account owns into a ZIP file; return its size."""
        return self._transport.save("/account/export", Path(path))

    # Models and versions

    def push(
        self,
        path: Path | str,
        *,
        model: str | None = None,
        refresh: bool = False,
        watch: PushWatch | None = None,
    ) -> Version:
        """Upload what the platform lacks of a directory, archive or ONNX file, and register the version.

        With `refresh`, versions of packages are chosen anew. The build goes on when this returns: see
        `built`. Raises BadBundle before anything is sent.
        """
        bundle = self._pusher(watch).send(Path(path))
        body = pushing.manifest_body(bundle, model, refresh=refresh)
        return Version.model_validate(self._call("POST", "/versions", json=body))

    def built(self, version: Version, heard: Heard | None = None) -> Version:
        """Follow a build to its end and return the version; `heard` gets every event."""
        if version.state in {"ready", "build_failed"}:
            return version
        last: dict[str, Any] = {}
        for event in self._transport.follow(version.events_url or f"/versions/{version.id}/events"):
            if heard:
                heard(event)
            last = event.json() if event.name == "end" else last
        return Version.model_validate(last) if last else self.version(version.reference)

    def version(self, ref: Ref) -> Version:
        """Return a version. Raises NotFound."""
        return Version.model_validate(self._call("GET", f"/versions/{_path(ref)}"))

    def versions(self, owner: str, name: str, limit: int = 50, after: str | None = None) -> Page[Version]:
        """Return the versions of a model, newest first."""
        path = f"/models/{quote(owner, safe='')}/{quote(name, safe='')}/versions"
        return Page[Version].model_validate(self._call("GET", path, params=_page(limit, after)))

    def models(self, limit: int = 50, after: str | None = None) -> Page[Model]:
        """Return the account's models, newest first."""
        return Page[Model].model_validate(self._call("GET", "/models", params=_page(limit, after)))

    # Runs

    def submit(
        self,
        ref: Ref,
        inputs: Mapping[str, Any],
        wait: int = 0,
        *,
        webhook: str | None = None,
        webhook_events: Sequence[str] = (),
    ) -> Run:
        """Start a run of a version; a `Path` among the inputs is a file that is sent.

        Returns at once, or when the run has ended or `wait` seconds (at most 60) are over. `webhook` is an
        address that is told of this run, of `started`, `output` or `finished` (the default) as
        `webhook_events` says; what its messages are signed with is the answer's `webhook_secret`.
        """
        hook = {"webhook": webhook, "webhook_events": list(webhook_events)}
        wished = {name: value for name, value in hook.items() if value}
        return self.runs_of_account.start(f"/versions/{_path(ref)}/runs", inputs, wait, wished)

    def run(self, ref: Ref, **inputs: Any) -> Run:
        """Run a version and return the run when it has ended, well or not."""
        return self.wait(self.submit(ref, inputs))

    def wait(self, run: Run | str, heard: Heard | None = None) -> Run:
        """Follow a run to its end."""
        if isinstance(run, Run) and run.final:
            return run
        return self.runs_of_account.wait(run if isinstance(run, str) else run.id, heard)

    def events(self, run_id: str) -> Iterator[ServerEvent]:
        """Yield a run's events until its end."""
        return self.runs_of_account.events(run_id)

    def get_run(self, run_id: str) -> Run:
        """Return a run. Raises NotFound."""
        return self.runs_of_account.get(run_id)

    def runs(self, ref: Ref | None = None, limit: int = 50, after: str | None = None) -> Page[Run]:
        """Return runs, newest first; those of one version when `ref` is given."""
        version = str(parse_reference(ref) if isinstance(ref, str) else ref) if ref else None
        return self.runs_of_account.list(version=version, **_page(limit, after))

    def cancel(self, run_id: str) -> Run:
        """Stop a run."""
        return self.runs_of_account.cancel(run_id)

    # Claims and datasets

    def claims(self, target: Ref | LinkAddress) -> Claims:
        """Return the claims of a version, or of what a link shares (which needs no account)."""
        if isinstance(target, LinkAddress):
            transport = Transport(target.url or self.url, http=self._http, patience=self._patience)
            place = f"/links/{quote(target.token, safe='')}/claims"
            return Claims(transport, place, f"{place}/checks")
        ref = parse_reference(target) if isinstance(target, str) else target
        return Claims(self._transport, f"/versions/{ref.path}/claims", "/claims/checks", str(ref))

    def push_dataset(
        self, path: Path | str, name: str, *, private: bool = False, watch: PushWatch | None = None
    ) -> Dataset:
        """Upload what the platform lacks of a directory or file, and register it as a dataset.

        Raises BadBundle before anything is sent. The same files are the same version.
        """
        manifest = self._pusher(watch).send_dataset(Path(path)).manifest
        files = manifest.model_dump(mode="json")["files"]
        body = {"name": name, "files": files, "private": private}
        return Dataset.model_validate(self._call("POST", "/datasets", json=body))

    def datasets(self, limit: int = 50, after: str | None = None) -> Page[Dataset]:
        """Return the account's datasets, every version, newest first."""
        return Page[Dataset].model_validate(self._call("GET", "/datasets", params=_page(limit, after)))

    def dataset(self, ref: Ref) -> Dataset:
        """Return a dataset with its files, by `owner/name@version`. Raises NotFound."""
        return Dataset.model_validate(self._call("GET", f"/datasets/{_path(ref)}"))

    # Links

    def share(
        self,
        ref: Ref,
        *,
        access: str = "link",
        expires: str | None = None,
        max_runs: int | None = None,
        label: str | None = None,
        **more: Any,
    ) -> Link:
        """Make a link to a version; its `url` is shown only in this answer.

        `more` are further wishes: `passcode` (true makes one up), `emails`, `rate`, `max_input`, `embed`,
        `blind`.
        """
        chosen = {"expires": expires, "max_runs": max_runs, "label": label, **more}
        return self.share_with(ref, access=access, **chosen)[0]

    def share_with(self, ref: Ref, recipients: Sequence[str] = (), **wishes: Any) -> list[Link]:
        """Like `share`, by one link for each recipient; by one link without recipients."""
        body = {"ref": str(ref)} | {name: value for name, value in wishes.items() if value is not None}
        if not recipients:
            return [Link.model_validate(self._call("POST", "/links", json=body))]
        made = self._call("POST", "/links/groups", json=body | {"recipients": list(recipients)})
        return list(Page[Link].model_validate(made).items)

    def edit_link(self, link_id: str, **changes: Any) -> Link:
        """Alter a link: `expires` (from now), `max_runs`, `rate`, `max_input`, `embed`, `label`, `paused`.

        None takes a limit away. Raises NotFound.
        """
        return Link.model_validate(self._call("PATCH", f"/links/{quote(link_id, safe='')}", json=changes))

    def unblind(self, link_id: str) -> Link:
        """Show the holders of a blind link whose model it is, for good. Raises NotFound."""
        return Link.model_validate(self._call("POST", f"/links/{quote(link_id, safe='')}/unblind"))

    def links(self, limit: int = 50, after: str | None = None) -> Page[Link]:
        """Return the account's links, newest first."""
        return Page[Link].model_validate(self._call("GET", "/links", params=_page(limit, after)))

    def revoke(self, link_id: str) -> None:
        """Make a link worthless at once; its runs are cancelled. Raises NotFound."""
        self._call("DELETE", f"/links/{quote(link_id, safe='')}")

    def shared(self, link: str | LinkAddress) -> Shared:
        """Return a link as its holder sees it: without this account, and on the link's own platform."""
        address = parse_link(link) if isinstance(link, str) else link
        url = address.url or self.url
        return Shared(Transport(url, http=self._http, patience=self._patience), address.token)

    # Training

    def train(
        self,
        path: Path | str,
        *,
        model: str | None = None,
        register: bool = True,
        watch: PushWatch | None = None,
    ) -> Trial:
        """Upload what the platform lacks of a directory and start its training."""
        bundle = self._pusher(watch).send(Path(path), for_training=True)
        body = pushing.manifest_body(bundle, model) | {"register": register}
        return Trial.model_validate(self._call("POST", "/trainings", json=body))

    def trials(self, limit: int = 50, after: str | None = None) -> Page[Trial]:
        """Return the trainings, newest first."""
        return Page[Trial].model_validate(self._call("GET", "/trials", params=_page(limit, after)))

    def trial(self, trial_id: str) -> Trial:
        """Return a training. Raises NotFound."""
        return Trial.model_validate(self._call("GET", f"/trials/{quote(trial_id, safe='')}"))

    def trained(self, trial: Trial | str, heard: Heard | None = None) -> Trial:
        """Follow a training to its end; `heard` gets every event."""
        trial_id = trial if isinstance(trial, str) else trial.id
        last: dict[str, Any] = {}
        for event in self._transport.follow(f"/trials/{quote(trial_id, safe='')}/events"):
            if heard:
                heard(event)
            last = event.json() if event.name == "end" else last
        return Trial.model_validate(last) if last else self.trial(trial_id)

    def cancel_trial(self, trial_id: str) -> Trial:
        """Stop a training."""
        return Trial.model_validate(self._call("POST", f"/trials/{quote(trial_id, safe='')}/cancel"))

    def trial_log(self, trial_id: str) -> bytes:
        """Return what a training printed."""
        with self._transport.download(f"/trials/{quote(trial_id, safe='')}/log") as answer:
            return answer.read()

    # Looking around

    def monitor(self, ref: Ref) -> Monitoring:
        """Return what the last runs of a version were like."""
        return Monitoring.model_validate(self._call("GET", f"/versions/{_path(ref)}/monitor"))

    def diff(self, before: Ref, after: Ref) -> Diff:
        """Return how `after` differs from `before`. Raises NotFound."""
        old, new = (parse_reference(one) if isinstance(one, str) else one for one in (before, after))
        return diff(self._transport, old, new)

    def status(self) -> PlatformStatus:
        """Return which services answer (operators only)."""
        return PlatformStatus.model_validate(self._call("GET", "/status"))

    def _call(self, method: str, path: str, **request: Any) -> Any:
        return self._transport.call(method, path, **request)

    def _pusher(self, watch: PushWatch | None) -> pushing.Pusher:
        return pushing.Pusher(self._transport, self._store_client, self._journal, watch)


def _path(ref: Ref) -> str:
    return (parse_reference(ref) if isinstance(ref, str) else ref).path


def _page(limit: int, after: str | None) -> dict[str, Any]:
    return {"limit": limit} | ({"after": after} if after else {})
