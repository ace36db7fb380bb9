"""Ports of EXPOSE.

Comes in: `80`, `53/udp`, `8000-8010`, `127.0.0.1:80:8080/tcp`. Goes out: the container's ports as
`80/tcp`, one for each of a range. The rules are those of `docker run --publish`, whose address and
host port EXPOSE accepts and ignores (a check warns of them).
Read next: `config`.
"""

import re

from minibuild.graph.address import is_ip_address

_PROTOCOLS = ("tcp", "udp", "sctp")
_LAST = 65535


def container_ports(text: str) -> list[str]:
    """The ports `text` names. Raises `ValueError` with a message in Docker's words."""
    before, container = split_host(text)
    port, _, protocol = container.partition("/")
    if not port:
        raise ValueError(f'invalid port: "{text}": no port specified')
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise ValueError(f'invalid port: "{text}": invalid proto: {protocol}')
    protocol = protocol.lower() or "tcp"
    address, _, host_port = before.rpartition(":")
    if address and not is_ip_address(address.removeprefix("[").removesuffix("]")):
        raise ValueError(f"invalid IP address: {address}")
    numbers = _range("containerPort", port)
    if host_port:
        host = _range("hostPort", host_port)
        if len(numbers) not in (1, len(host)):
            raise ValueError(
                f"invalid ranges specified for container and host Ports: {port} and {host_port}"
            )
    return [f"{number}/{protocol}" for number in numbers]


def split_host(text: str) -> tuple[str, str]:
    """The part before the container's port (`127.0.0.1:80`, mostly empty), and the port."""
    address, _, container = text.rpartition(":")
    return address, container


def _range(what: str, text: str) -> range:
    first, dash, last = text.partition("-")
    low, high = _number(first), _number(last if dash else first)
    if low < 0 or high < low:
        raise ValueError(f"invalid {what}: {text}")
    return range(low, high + 1)


def _number(text: str) -> int:
    """A port, or -1 for anything else."""
    if not re.fullmatch("[+-]?[0-9]+", text) or len(text.lstrip("+-0")) > len(str(_LAST)):
        return -1
    return int(text) if int(text) <= _LAST else -1
