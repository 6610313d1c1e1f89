"""What lies in S3 for other hosts: replaced and removed as a whole, and all of it counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from builder_desk import Desk
from builder_stores import make_catalogue, open_store
from vitrine_builder.completion import MARKER
from vitrine_builder.replication import Replication
from vitrine_builder.repository import Environments, PackedParts
from vitrine_common.blobs import BlobStore
from vitrine_common.clock import utcnow
from vitrine_common.documents import Environment, PackedPart
from vitrine_common.replicas import AREA
from vitrine_common.settings import MongoSettings, S3Settings
from vitrine_common.store import Database

pytestmark = pytest.mark.timeout(120)


async def test_replicas_are_replaced_count_and_go_with_their_layers(
    desk: Desk, mongo: MongoSettings, s3_settings: S3Settings, tmp_path: Path
) -> None:
    catalogue = make_catalogue(tmp_path, 2)
    database = Database(mongo, "builder", desk.bus)
    environments, parts = Environments(database, "one", 30), PackedParts(database)
    documents, packed = database.collection(Environment), database.collection(PackedPart)
    blobs = BlobStore(s3_settings, AREA)
    await blobs.ensure_bucket()

    def stored() -> set[str]:
        found = blobs._client.list_objects(s3_settings.bucket, recursive=True)
        return {f"sha256:{''.join(each.object_name.split('/')[-2:])}" for each in found}

    async with open_store(tmp_path / "environments", catalogue.index) as store:
        replication = Replication(store.parts.store, parts, environments, blobs, 1 << 40)
        digests = []
        for name in catalogue.names[:2]:
            lock, made = await store.make(catalogue.text([name]))
            await environments.record(made, lock, store.parts.store.target)
            await replication.provide(made.digest)
            digests.append(made.digest)
        bare = (await documents.get(digests[0])).replica_digest
        (store.workspace.root / digests[0][7:] / MARKER).write_text("{}")
        await replication.provide(digests[0])
        whole = (await documents.get(digests[0])).replica_digest
        assert whole != bare
        known = await packed.find({})
        assert stored() == {part.digest for part in known}, "what was replaced is there still, or uncounted"
        assert {bare, whole} & stored() == {whole}

        oldest = min(known, key=lambda part: part.used_at)
        assert oldest.id == f"replica {digests[1]}", "one would outlive layers that it needs"

        # As if nothing were used for long but the second replica.
        second = (await documents.get(digests[1])).replica_digest
        for part in known:
            await packed.update({"_id": part.id}, {"used_at": part.used_at - timedelta(days=1)})
        await packed.update({"digest": second}, {"used_at": utcnow()})
        await Replication(store.parts.store, parts, environments, blobs, 1)._evict()
        assert (await documents.get(digests[0])).replica_digest is None
        assert stored() == {second}
        assert (await documents.get(digests[1])).replica_digest == second
    await blobs.aclose()
    database.close()
