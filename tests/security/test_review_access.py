"""Ways round the authorization table: values and names that only look like permissions."""

from __future__ import annotations

from api_instance import Instance, api

__all__ = ["api"]

JSON_SPEC = {
    "name": "echo",
    "model": {"command": "python echo.py", "input": {"type": "flag"}},
    "inputs": [{"name": "data", "type": "json"}],
}


async def test_a_json_value_that_looks_like_a_file_gives_nobody_its_bytes(api: Instance) -> None:
    """A link's holder knows the version's digest, which names the manifest, which names all files."""
    someone = await api.account()
    version = await api.ready(someone, spec=JSON_SPEC)
    token = (await someone.share(version["reference"]))["token"]
    fake = {"digest": version["digest"], "size": 1, "media_type": "image/png", "filename": "x.png"}
    visitor = api.client(headers={"X-Vitrine-Visitor": "v" * 20})
    sent = await visitor.post(f"/api/v1/links/{token}/runs", json={"inputs": {"data": fake}})
    assert sent.status_code == 202, sent.text
    stolen = await visitor.get(f"{sent.json()['url']}/inputs/data")
    assert stolen.status_code == 404, stolen.text
    visitor.cookies.set("vitrine_visitor", "v" * 20)
    page = f"/s/{token}/runs/{sent.json()['id']}"
    assert (await visitor.get(f"{page}/inputs/data")).status_code == 404
    assert f"{page}/inputs/data" not in (await visitor.get(page)).text
