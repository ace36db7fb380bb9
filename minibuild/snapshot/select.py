"""Which snapshotter this host and this store allow.

Comes in: a store. Goes out: a snapshotter. Overlayfs may be missing, forbidden, or unable to use
the store's filesystem (another overlay, NFS), and no flag says so; it is tried, by doing once what
builds do: mount, delete a file of the layer below, and find the whiteout; make the directory again,
and find that it is opaque, which takes extended attributes (tmpfs has had none of `user.*` before
Linux 6.6: the mount goes well there, and a mkdir(2) fails much later). That it worked is kept in
the store, under the kernel's release and the id map, so that later starts need not try. A refusal
is not kept: the host may be mended meanwhile.
"""

import os
import stat
from collections.abc import Callable
from typing import Literal

from minibuild.errors import BuildError, HostError
from minibuild.linux import xattr
from minibuild.linux.namespace import in_user_namespace, needs_user_namespace
from minibuild.snapshot.overlay import OverlaySnapshotter
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.store.layout import Store


def try_overlay(overlay: OverlaySnapshotter) -> str:
    """What this kernel does wrong on the filesystem of the store, or ""."""
    from minibuild.snapshot.view import View

    made = []
    try:
        made.append(overlay.prepare(None))
        below = overlay.layer_dir(made[0])
        os.mkdir(f"{below}/directory")
        with open(f"{below}/file", "x"):
            pass
        overlay.commit(made[0])
        made.append(overlay.prepare(made[0]))
        with overlay.tree(made[1], readonly=False) as fd:
            os.unlink("file", dir_fd=fd)
            os.rmdir("directory", dir_fd=fd)
            os.mkdir("directory", dir_fd=fd)
        above = overlay.layer_dir(made[1])
        found = os.lstat(f"{above}/file")
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != 0:
            return "a deleted file leaves no whiteout"
        if not View([above], overlay.whiteouts).is_opaque(f"{above}/directory"):
            return "a directory that is created again is not opaque"
    except (BuildError, OSError) as error:
        return str(error)
    finally:
        for snapshot in reversed(made):
            overlay.remove(snapshot)
    return ""


def open_snapshotter(
    store: Store,
    name: Literal["auto", "overlay", "native", "stacked"] = "auto",
    attempt: Callable[[OverlaySnapshotter], str] = try_overlay,
) -> Snapshotter:
    """The snapshotter called `name`; `auto` is overlay where that works, else native. In place of
    `stacked` it is native where files take no attributes of users."""
    if name == "stacked" and _takes_attributes(store):
        from minibuild.snapshot.stacked import StackedSnapshotter

        return StackedSnapshotter(store)
    if name in ("native", "stacked"):
        return _native(store)
    overlay = OverlaySnapshotter(store, user_namespace=in_user_namespace())
    problem = _problem(store, overlay, attempt)
    if not problem:
        return overlay
    if name == "overlay":
        raise HostError(
            f"overlay snapshots do not work in {store.root}: {problem}",
            hint="put the store on another filesystem (MINIBUILD_ROOT), or use native snapshots",
        )
    return _native(store)


def _native(store: Store) -> Snapshotter:
    from minibuild.snapshot.native import NativeSnapshotter

    return NativeSnapshotter(store)


def _takes_attributes(store: Store) -> bool:
    path = store.ingest_path()
    os.mkdir(path)
    try:
        return xattr.set(path, f"{xattr.LAYER}opaque", b"x", tolerant=True)
    finally:
        os.rmdir(path)


def _id_map() -> str:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return " ".join(file.read().split())


def _problem(
    store: Store, overlay: OverlaySnapshotter, attempt: Callable[[OverlaySnapshotter], str]
) -> str:
    """Why overlay cannot be used, or ""; tried until it works once."""
    if needs_user_namespace():  # There was none to be had.
        return "this process may not mount"
    name = f"overlay {overlay.whiteouts} {os.uname().release} {os.geteuid()} {_id_map()}"
    problem = ""
    if not store.db.execute("SELECT 1 FROM probes WHERE name = ?", (name,)).fetchone():
        problem = attempt(overlay)
        if not problem:
            store.db.execute(
                "INSERT OR IGNORE INTO probes (name, answer) VALUES (?, 'works')", (name,)
            )
    return problem
