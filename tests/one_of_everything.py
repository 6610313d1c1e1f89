"""One of everything that an account can have, for tests that ask for all of it."""

from __future__ import annotations

from api_instance import PNG, Account, Instance, manifest
from claims_on_api import finish_check, push_dataset
from environment_samples import version_with
from venues_on_api import Hosted
from vitrine_api.webhooks.signing import new_secret
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Notification, Output, Trial, User, Webhook, WebhookDelivery
from vitrine_common.ids import new_id
from vitrine_common.states import DeliveryState, TrialState

CLAIM = {"name": "speed", "statement": "Fast.", "command": "python echo.py", "metric": "ms", "expected": 3}
SPEC = {**manifest()["spec"], "claims": [CLAIM]}


def picture() -> Output:
    """What a run and a trial made."""
    return Output(
        name="image",
        type="image",
        digest=sha256_bytes(PNG),
        size=len(PNG),
        media_type="image/png",
        filename="a.png",
    )


async def parameters_of(api: Instance, owner: Account) -> dict[str, str]:
    """Make one of everything; return what path parameters call it."""
    version = await version_with(api, owner, {"six": "1.17.0"}, name="everything", spec=SPEC)
    owner_name, name, number = version["reference"].replace("@", "/").split("/")
    await push_dataset(owner, name)
    asked = await owner.client.post(
        "/api/v1/claims/checks", json={"ref": version["reference"], "claim": "speed"}
    )
    await finish_check(api, asked.json()["id"], (3.0,))
    await api.services.attesting.checked(asked.json()["id"])
    invite = await owner.client.post(f"/api/v1/models/{owner_name}/{name}/collaborators", json={})
    return {
        "owner": owner_name,
        "name": name,
        "model": f"{owner_name}~{name}",
        "version": number,
        "version_id": version["id"],
        "check_id": asked.json()["id"],
        "link_id": (await owner.share(version["reference"], blind=True))["id"],
        "invite_id": invite.json()["id"],
        "trial_id": await finished_trial(api, owner),
        **await _venue(api, owner, version["reference"]),
        **await _news(api, owner),
    }


async def finished_trial(api: Instance, owner: Account) -> str:
    """A training of the owner that has ended well; return its id."""
    sent = {"manifest": manifest({**manifest()["spec"], "train": {"command": "python echo.py"}})}
    made = (await owner.client.post("/api/v1/trainings", json=sent)).json()
    trial = Trial(
        id=made["id"],
        owner_id=owner.id,
        owner=owner.name,
        model=made["model"],
        source_digest=made["source_digest"],
        state=TrialState.SUCCEEDED,
        outputs=[picture()],
        log_digest=sha256_bytes(PNG),
        finished_at=utcnow(),
    )
    await api.database_as("trainer").collection(Trial).insert(trial)
    return str(made["id"])


async def _venue(api: Instance, owner: Account, reference: str) -> dict[str, str]:
    await api.platform.database.collection(User).require({"_id": owner.id}, {"roles": ["chair"]})
    body = {"name": "ReproConf 2027", "deadline": "2099-12-01", "time_zone": "UTC"}
    made = (await owner.client.post("/api/v1/venues", json=body)).json()
    venue = Hosted(api, owner, made["id"], made)
    submission = await venue.submit(owner, reference)
    (reviewer,) = await venue.reviewers("Eva <eva@far.example>")
    return {
        "venue_id": venue.id,
        "venue_token": venue.token,
        "submission_id": submission["id"],
        "reviewer_id": reviewer["id"],
        "review_id": await venue.assign(submission, reviewer),
    }


async def _news(api: Instance, owner: Account) -> dict[str, str]:
    database = api.platform.database
    hook = Webhook(id=new_id("hook"), user_id=owner.id, url="http://127.0.0.1:1/", secret=new_secret())
    delivery = WebhookDelivery(
        id=new_id("delivery"),
        user_id=owner.id,
        webhook_id=hook.id,
        kind="webhook.test",
        body="{}",
        state=DeliveryState.DELIVERED,
    )
    news = Notification(id=new_id("news"), user_id=owner.id, kind="version.ready", title="It runs")
    await database.collection(Webhook).insert(hook)
    await database.collection(WebhookDelivery).insert(delivery)
    await database.collection(Notification).insert(news)
    return {"webhook_id": hook.id, "delivery_id": delivery.id, "notification_id": news.id}
