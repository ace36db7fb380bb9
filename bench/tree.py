"""Where a builder's programs are: on the path, or in a folder with a Debian.

Comes in: the folder, which need not be the release of this machine; or one with only `bin/` in it,
such as BuildKit's own build makes: these programs run in this machine's system. Goes out: paths of
programs, what they say, and the command that starts a daemon inside: its store is /mnt there, so
that the paths of sockets in it stay short. Clients are called from outside, where the context is.
"""

import os
import shutil
import subprocess

_PLUGINS = tuple(
    f"{prefix}/{part}/docker/cli-plugins"
    for prefix in ("usr", "usr/local")
    for part in ("libexec", "lib")
)

# Runs in a mount namespace of its own, which takes all of this along when it ends. A folder that
# is entered is bound to itself first, because runc wants the root to be a mount point.
_ENTER = """
set -e
root=$1 store=$2; shift 2
if [ "$root" != / ]; then
    mount --rbind "$root" "$root"
    for dir in sys dev; do mount --rbind "/$dir" "$root/$dir"; done
    mount -t tmpfs tmpfs "$root/run"
    mount --bind "$(realpath /etc/resolv.conf)" "$root/etc/resolv.conf"
fi
mount -t proc proc "$root/proc"
mount --bind "$store" "$root/mnt"
exec chroot "$root" "$@"
"""


class Lacking(Exception):
    """A builder that cannot be measured here; the text says why."""


class Tree:
    """A Debian in a folder, or this machine."""

    def __init__(self, root: str = "") -> None:
        found = os.path.abspath(root or "/")
        programs = os.path.isdir(f"{found}/bin") and not os.path.isdir(f"{found}/usr")
        self.root = "/" if programs else found
        path = os.environ.get("PATH", os.defpath)
        self._path = path if self.root == found else f"{found}/bin:{path}"

    def find(self, name: str) -> str | None:
        """The path of a program, or None."""
        folders = [os.path.join(self.root, part) for part in _PLUGINS]
        if self.root == "/":
            folders.insert(0, self._path)
        else:
            parts = ("usr/local/bin", "usr/bin", "usr/sbin")
            folders = [*(os.path.join(self.root, part) for part in parts), *folders]
        return shutil.which(name, path=":".join(folders))

    def get(self, name: str) -> str:
        """The path of a program. Raises `Lacking`."""
        path = self.find(name)
        if path is None:
            raise Lacking(f"there is no {name} in {self.root}")
        return path

    def says(self, *argv: str) -> str:
        """What a program inside answers. Raises `Lacking`."""
        return says("chroot", self.root, "env", f"PATH={self._path}", *argv)

    def inside(self, store: str, *argv: str) -> list[str]:
        """The command that runs another inside, with the store at /mnt."""
        enter = ["/bin/sh", "-c", _ENTER, "sh", self.root, store]
        return [*enter, "env", f"PATH={self._path}", *argv]


def says(*argv: str) -> str:
    """What a program answers. Raises `Lacking`."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Lacking(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        raise Lacking(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
