"""How versions differ: by the api and on its page."""

from __future__ import annotations

from typing import Any

from api_instance import FILES, SPEC, Account, Instance, manifest, problem
from page_visits import log_in


async def push(account: Account, files: dict[str, bytes], name: str, **spec: Any) -> dict[str, Any]:
    await account.upload(files)
    body = {"manifest": manifest({**SPEC, **spec}, files), "model": name}
    answer = await account.client.post("/api/v1/versions", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_versions_are_compared(api: Instance) -> None:
    owner, stranger = await api.account(), await api.account()
    await push(owner, FILES, "two")
    changed = {**FILES, "echo.py": b"print('bye')\n", "more.bin": b"\0\1\2"}
    await push(owner, changed, "two", description="Says it differently")
    path = f"/api/v1/versions/{owner.name}/two/1/diff"
    answer = await owner.client.get(path, params={"to": f"{owner.name}/two@2"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    files = {one["path"]: one for one in found["files"]}
    assert found["file_changes"] == 2
    assert files["echo.py"]["lines"] == ["@@ -1 +1 @@", "-print('hello')", "+print('bye')"]
    assert (files["more.bin"]["kind"], files["more.bin"]["note"]) == ("added", "not a text")
    assert found["spec"] == [
        {"name": "description", "before": "Says it again", "after": "Says it differently"}
    ]
    assert found["environment"] is None
    problem(await stranger.client.get(path, params={"to": f"{owner.name}/two@2"}), 404)


async def test_the_page_shows_lines_and_leads_on(api: Instance) -> None:
    owner = await api.account()
    await push(owner, FILES, "two")
    await push(owner, {**FILES, "echo.py": b"print('<b>')\n"}, "two")
    browser = await log_in(api, owner)
    model = (await browser.get(f"/models/{owner.name}/two")).text
    url = f"/models/{owner.name}/two/versions/1/diff?to=2"
    assert f'href="{url}"' in model
    page = await browser.get(url)
    assert page.status_code == 200
    assert "+print(&#39;&lt;b&gt;&#39;)" in page.text
    same = await browser.get(f"/models/{owner.name}/two/versions/2/diff")
    assert "No difference" in same.text
