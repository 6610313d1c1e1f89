"""What a version runs in, as the api tells it to owners, to holders of links, and to those of blind ones."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

from api_instance import Instance, problem
from environment_samples import SBOM, STATEMENT, digest, layer, version_with
from vitrine_common.receipts.dsse import read_envelope
from vitrine_common.receipts.signatures import is_signed_by

PACKAGES = {"numpy": "2.4.6", "six": "1.17.0"}


def token_in(text: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found
    return found[1]


def address(version: dict[str, Any], rest: str = "") -> str:
    place = f"{version['owner']}/{version['model']}/{version['number']}"
    return f"/api/v1/versions/{place}/environment{rest}"


async def test_an_owner_sees_packages_layers_and_digests(api: Instance) -> None:
    account = await api.account()
    layers = [layer("base", 9000, "base"), layer("numpy==2.4.6", 5000)]
    version = await version_with(
        api,
        account,
        PACKAGES,
        name="shown",
        layers=layers,
        image_digest=digest("image"),
        system=["r-base=4.2"],
    )
    told = (await account.client.get(address(version))).json()
    assert told["reference"] == version["reference"]
    assert told["digest"] == version["environment_digest"]
    assert [(each["name"], each["version"], each["size_bytes"]) for each in told["packages"]] == [
        ("numpy", "2.4.6", 5000),
        ("six", "1.17.0", 3000),
    ]
    assert told["packages"][1]["hashes"] == [digest("six1.17.0")]
    assert [(each["kind"], each["size_bytes"]) for each in told["layers"]] == [
        ("base", 9000),
        ("wheels", 5000),
    ]
    assert told["image_digest"] == digest("image")
    assert told["system"] == ["r-base=4.2"]


async def test_without_an_image_the_layers_are_wheels(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="wheels")
    told = (await account.client.get(address(version))).json()
    assert [(each["packages"], each["size_bytes"]) for each in told["layers"]] == [
        (["numpy==2.4.6"], 5000),
        (["six==1.17.0"], 3000),
    ]


async def test_two_versions_are_compared(api: Instance) -> None:
    account = await api.account()
    before = await version_with(api, account, {**PACKAGES, "gone": "1"}, name="before", system=["r=4.2"])
    after = await version_with(
        api, account, {"numpy": "2.5.0", "six": "1.17.0", "added": "3"}, name="after", system=["r=4.3"]
    )
    found = await account.client.get(address(before, "/diff"), params={"to": after["reference"]})
    told = found.json()
    assert told["packages"] == [
        {"name": "added", "before": None, "after": "3"},
        {"name": "gone", "before": "1", "after": None},
        {"name": "numpy", "before": "2.4.6", "after": "2.5.0"},
    ]
    assert told["system"] == [{"name": "r", "before": "4.2", "after": "4.3"}]
    assert (told["layers_shared"], told["layers_added"], told["layers_removed"]) == (1, 2, 2)
    assert (told["shared_bytes"], told["added_bytes"], told["removed_bytes"]) == (3000, 10_000, 9000)
    assert not told["same"]
    same = await account.client.get(address(before, "/diff"), params={"to": before["reference"]})
    assert same.json()["same"]
    stranger = await api.account()
    theirs = await version_with(api, stranger, PACKAGES, name="theirs")
    refused = await account.client.get(address(before, "/diff"), params={"to": theirs["reference"]})
    assert problem(refused, 404)


async def test_documents_are_served_and_the_provenance_signed(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="documents")
    sbom = await account.client.get(address(version, "/sbom"))
    assert (sbom.content, sbom.headers["content-type"]) == (SBOM, "application/vnd.cyclonedx+json")
    envelope = read_envelope((await account.client.get(address(version, "/provenance"))).content)
    assert envelope.payload == STATEMENT
    keys = await api.services.receipts.signer.published()
    assert is_signed_by(envelope, keys.keys[envelope.key_id].raw)
    exported = await account.client.get(address(version, "/export"))
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert set(archive.namelist()) == {"Dockerfile", "requirements.txt"}
        assert f"six==1.17.0 --hash={digest('six1.17.0')}" in archive.read("requirements.txt").decode()


async def test_an_archive_of_a_version_holds_them_too(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="archived")
    place = address(version).removesuffix("environment") + "export"
    with zipfile.ZipFile(io.BytesIO((await account.client.get(place)).content)) as archive:
        names = set(archive.namelist())
        assert archive.read("environment/sbom.cdx.json") == SBOM
        assert read_envelope(archive.read("environment/provenance.intoto.json")).payload == STATEMENT
    assert {"environment/Dockerfile", "environment/requirements.lock"} <= names


async def test_a_version_without_an_environment_says_so(api: Instance) -> None:
    account = await api.account()
    version = await account.push(name="unbuilt")
    assert "still being made" in problem(await account.client.get(address(version)), 404)["detail"]


async def test_a_link_tells_what_runs_and_not_whose_it_is(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="linked")
    link = await account.share(version["reference"])
    place = f"/api/v1/links/{link['token']}/environment"
    told = await api.client().get(place)
    assert told.json()["packages"][1]["name"] == "six"
    assert account.name not in told.text
    assert (await api.client().get(f"{place}/sbom")).content == SBOM


async def test_a_blind_link_tells_next_to_nothing(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="blind")
    link = await account.share(version["reference"], blind=True)
    place = f"/api/v1/links/{link['token']}/environment"
    told = await api.client().get(place)
    shown = {name: value for name, value in told.json().items() if value}
    assert set(shown) == {"digest", "python"}
    assert shown["digest"].startswith("hmac-sha256:")
    assert json.dumps(version["environment_digest"]).strip('"') not in told.text
    for document in ("sbom", "provenance", "export"):
        assert problem(await api.client().get(f"{place}/{document}"), 404)


async def test_the_page_shows_it_and_gives_the_files(api: Instance) -> None:
    account = await api.account()
    version = await version_with(api, account, PACKAGES, name="paged")
    browser = api.client()
    form = token_in((await browser.get("/login")).text)
    entered = {"email": account.email, "password": account.password, "csrf_token": form}
    assert (await browser.post("/login", data=entered)).status_code == 303
    place = f"/models/{version['owner']}/paged/versions/1"
    text = (await browser.get(place)).text
    assert "2 locked packages" in text
    assert "2 made, 0 reused" in text
    assert f"vitrine env diff {version['reference']} REF" in text
    assert (await browser.get(f"{place}/sbom")).content == SBOM
    assert read_envelope((await browser.get(f"{place}/provenance")).content).payload == STATEMENT
    files = await browser.get(f"{place}/environment")
    assert zipfile.is_zipfile(io.BytesIO(files.content))
