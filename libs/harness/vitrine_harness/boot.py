"""The first code in a nest: finish its isolation, then wait for work.

The engine's launcher (bubblewrap) has made the namespaces and the read-only view. Where it ran as
root, this process still is the host's root inside them, and the first thing that it does is to stop
being that: it becomes a user that no other nest has. In both cases it then enters a user namespace of its
own, whose capabilities only reach the mounts of cells.
"""

from __future__ import annotations

import json
import os
import socket

from vitrine_harness import PROTOCOL, supervisor, system
from vitrine_harness.cell import BUNDLE, SHARED, TENANT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL_BYTES = 64 * 1024
"""Largest control message."""


def main(descriptor: int) -> None:
    """Serve the engine on the inherited control socket until it closes."""
    os.umask(0o022)
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    setup = json.loads(control.recv(CONTROL_BYTES))
    owns_bundles = _leave_root(setup)
    system.enter_user_namespace(system.CLONE_NEWNS, TENANT)
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    system.hide()
    system.die_with_parent()
    system.close_descriptors({descriptor})
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    control.send(json.dumps({"is": "ready", "protocol": PROTOCOL, "overlay": owns_bundles}).encode())
    supervisor.serve(control, setup, overlay=owns_bundles)


def _leave_root(setup: dict[str, Any]) -> bool:
    """Become the nest's own user; return whether the bundles' files then belong to it.

    They must, or an overlay would refuse to change them: they are id-mapped, else runs get a copy.
    """
    uid = setup["uid"]
    if uid is None:
        return bool(setup["owns_bundles"])
    hidden = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    system.mount("proc", "/proc", "proc", hidden)
    try:
        place = SHARED if setup["shared"] else BUNDLE
        system.remap_owner(place, tuple(setup["bundle_owner"]), (uid, uid))
        mapped = True
    except OSError:
        mapped = False
    system.become(uid, uid)
    return mapped
