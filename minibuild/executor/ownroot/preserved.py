"""What stays where it is while trees are moved in and out of "/": mounts, and a few folders.

Comes in: the mounts of this process and the folders. Goes out: `PreservedPaths`. A mount stays
because it is the container's: its volumes, the checkout, caches, and files such as /etc/hosts that
the runtime bound over those of the image. The directories on the way to what stays stay as well,
and only what is in them moves.
Read next: `exchange`.
"""


class PreservedPaths:
    """Paths that stay. All are absolute and have no symlinks. `mounts` are mount points, each with
    the type of the filesystem on top."""

    __slots__ = ("mounts", "on_the_way", "paths")

    def __init__(self, mounts: dict[str, str], folders: tuple[str, ...] = ()) -> None:
        self.mounts = mounts
        self.paths = {*mounts, *folders} - {"/"}
        self.on_the_way = {
            path[:at] or "/" for path in self.paths for at in range(len(path)) if path[at] == "/"
        }

    def stays(self, path: str) -> bool:
        """Whether this very path stays, with all in it."""
        return path in self.paths

    def leads_to_it(self, path: str) -> bool:
        """Whether something below this directory stays."""
        return path in self.on_the_way

    def holds(self, path: str) -> bool:
        """Whether the path is one that stays, or is in one."""
        while path not in ("/", ""):
            if path in self.paths:
                return True
            path = path.rpartition("/")[0]
        return False
