"""The mount points that images lack most often, as a layer of their own below all others.

Comes in: a folder that lasts. Goes out: a directory with an empty /etc/hosts and /etc/resolv.conf,
and the options of an overlay with it as the lowest layer. So they are there, nothing has to be
made in the layer that the step writes, and nothing removed from it afterwards. Where a layer of
the image hides them, `stubs` makes mount points as for any other mount.
Read next: `stubs`.
"""

import os

from minibuild.snapshot.api import MAX_DATA_BYTES, Mount

_FILES = ("etc/hosts", "etc/resolv.conf")
_MAX_LAYERS = 490
"""The kernel takes 500, and has its own words for more."""


class MountPointLayer:
    """The layer. `device` is the filesystem it is on."""

    __slots__ = ("device", "path")

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(os.path.abspath(folder), "points")
        for directory in (self.path, f"{self.path}/etc"):
            try:
                os.mkdir(directory)
            except FileExistsError:
                continue
            os.chmod(directory, 0o755)  # Of an image without /etc it is what the step sees.
        for name in _FILES:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(f"{self.path}/{name}", flags, 0o644))
        self.device = os.stat(self.path).st_dev

    def below(self, rootfs: Mount, device: int) -> Mount:
        """The mount of a rootfs on `device`, with the layer in it where it may be.

        On another filesystem it would be seen: files of an overlay then have another st_dev than
        directories, and `find -xdev` passes them over.
        """
        if not rootfs.is_overlay or device != self.device or set(self.path) & set(":,\\"):
            return rootfs
        made = rootfs._replace(lower=(*rootfs.lower, self.path))
        fits = len(made.lower) <= _MAX_LAYERS and len(os.fsencode(made.data)) <= MAX_DATA_BYTES
        return made if fits else rootfs
