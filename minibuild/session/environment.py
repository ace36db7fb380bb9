"""The environment of the process: the one place that reads it.

Comes in: `os.environ`, the user's id, which folders exist. Goes out: an `Environment`, plain data
that tests make by hand. Where state goes by default follows the XDG Base Directory specification
for people and the Filesystem Hierarchy Standard (/var/lib) for root. Read next: `registries`.
"""

import os
import stat
from collections.abc import Mapping

from minibuild.errors import HostError
from minibuild.startup.tuples import NamedTuple

_OF_ENGINES = ("DOCKER_HOST", "DOCKER_CONTEXT")
_OF_DAEMONS = ("BUILDKIT_HOST", *_OF_ENGINES)
_ASKS_FOR_LESS = "BUILDX_NO_DEFAULT_ATTESTATIONS"
"""There are none by default."""
_NO = ("0", "false", "no", "off")


class Environment(NamedTuple):
    """Who runs the program, and with which variables. `uid` is the real one on this host."""

    variables: Mapping[str, str]
    uid: int

    @property
    def root(self) -> str:
        """The folder for all state.

        `MINIBUILD_ROOT`, else the system's state folder for root, else the XDG data folder, else
        one below the home folder if that can be written to, else one of the user's own in /var/tmp.
        """
        variables = self.variables
        if root := variables.get("MINIBUILD_ROOT"):
            return os.path.abspath(root)
        if self.uid == 0:
            return "/var/lib/minibuild"
        data = variables.get("XDG_DATA_HOME", "")
        # The specification has relative paths in this variable ignored.
        if os.path.isabs(data):
            return os.path.join(data, "minibuild")
        home = variables.get("HOME", "")
        if os.path.isabs(home) and os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
            return os.path.join(home, ".local", "share", "minibuild")
        return _private_folder(f"/var/tmp/minibuild-{self.uid}", self.uid)

    @property
    def term(self) -> str:
        """What the terminal calls itself; empty if that is not known."""
        return self.variables.get("TERM", "")

    @property
    def colours(self) -> bool:
        """Whether colours are welcome where a terminal is (no-color.org)."""
        return not self.variables.get("NO_COLOR")

    @property
    def progress(self) -> str:
        """The kind of progress asked for by a variable, as for BuildKit's clients."""
        return self.variables.get("BUILDKIT_PROGRESS", "")

    @property
    def records(self) -> bool:
        """Whether builds leave records."""
        return self.variables.get("MINIBUILD_RECORD", "").lower() not in _NO

    @property
    def source_date_epoch(self) -> str:
        """The time that reproducible builds pretend it is (reproducible-builds.org)."""
        return self.variables.get("SOURCE_DATE_EPOCH", "")

    @property
    def source_policy(self) -> str:
        """The file with a policy of sources, as for BuildKit's clients."""
        return self.variables.get("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "")

    @property
    def default_platform(self) -> str:
        """The default platform of commands, as for Docker's."""
        return self.variables.get("DOCKER_DEFAULT_PLATFORM", "")

    def unused(self, *, loads: bool) -> list[str]:
        """Variables that mean something to Docker's clients and nothing to this program, which a
        person has set. With `loads` a container engine is called, which may use some of them."""
        found = [name for name in _OF_DAEMONS if not (loads and name in _OF_ENGINES)]
        found += [name for name in self.variables if name.startswith("BUILDX_")]
        return sorted(name for name in found if self.variables.get(name) and name != _ASKS_FOR_LESS)

    @property
    def ssh_agent(self) -> str:
        """The socket of the caller's ssh agent."""
        return self.variables.get("SSH_AUTH_SOCK", "")


def read_environment() -> Environment:
    """The environment of this process."""
    return Environment(dict(os.environ), os.getuid())


def _private_folder(path: str, uid: int) -> str:
    """A folder in a place where every account may write: made, or checked to be our own."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o022:
        raise HostError(
            f"{path} is not a folder of yours alone",
            hint="set MINIBUILD_ROOT to a folder that only you may write to",
        )
    return path
