"""Where this machine keeps what is needed to reach registries: names of files, and no contents.

Comes in: what the command line found in the environment. Goes out: a value that a build can carry
along for nothing; the files are read when a registry is asked for the first time, which most
builds never do. Read next: `hosts`.
"""

from collections.abc import Mapping
from typing import NamedTuple


class RegistryAccess(NamedTuple):
    """How registries are reached.

    `settings` is a TOML file with a section `registries` (see docs/registries.md), or empty.
    `logins` are files in the form of Docker's config.json; the first that knows a registry
    counts. `certificates` are folders in the form of /etc/docker/certs.d. `proxies` maps `http`,
    `https` and `no` to the values of the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
    `insecure` are registries that may go without TLS for this one command.
    """

    settings: str = ""
    logins: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    proxies: Mapping[str, str] = {}
    insecure: tuple[str, ...] = ()
