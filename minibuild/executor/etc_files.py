"""The files in /etc that belong to the machine and not to the image: hosts and resolv.conf.

Comes in: a step and the host's resolv.conf. Goes out: their text. They are mounted over the
rootfs, read-only, and never get into a layer.
"""

import os

from minibuild.linux.descriptors import read_start

HOST_RESOLV_CONF = "/etc/resolv.conf"
RESOLVED_UPSTREAM = "/run/systemd/resolve/resolv.conf"
_STUB_RESOLVER = "127.0.0.53"
_MAX_BYTES = 1 << 16


def hosts(hostname: str, extra: tuple[tuple[str, str], ...]) -> str:
    """The text of /etc/hosts, see hosts(5)."""
    lines = [
        f"127.0.0.1\tlocalhost {hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{name}" for name, address in extra),
    ]
    return "\n".join(lines) + "\n"


def resolv_conf() -> bytes:
    """The text of the host's /etc/resolv.conf.

    Where it names nothing but the local stub of systemd-resolved, the servers behind the stub are
    named instead, as Docker does: some programs ask several servers at once, or speak to them in
    ways that the stub does not know.
    """
    text = read_start(HOST_RESOLV_CONF, _MAX_BYTES)
    if nameservers(text) == [_STUB_RESOLVER]:
        return read_start(RESOLVED_UPSTREAM, _MAX_BYTES) or text
    return text


def nameservers(text: bytes) -> list[str]:
    """The addresses that a resolv.conf(5) names."""
    lines = (line.split() for line in os.fsdecode(text).splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
