"""What the processes of RUN get: `nofile=1024:2048`, `db:10.0.0.7`.

Comes in: the text of `--ulimit` or `--add-host`. Goes out: the value of the request, or a
`UsageError` that says how to write it. Read next: `executor.api`.
"""

from minibuild.errors import UsageError
from minibuild.graph.address import is_ip_address
from minibuild.graph.op import Ulimit
from minibuild.graph.spelling import one_of

_LIMITS = frozenset(
    (
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
        "sigpending stack"
    ).split()
)


def ulimit(text: str) -> Ulimit:
    """`NAME=SOFT[:HARD]`; -1 is unlimited."""
    name, equals, rest = text.partition("=")
    name = name.strip().lower()
    if not equals:
        raise UsageError(
            f"invalid ulimit {text!r}: it must be NAME=SOFT[:HARD]",
            hint="write it like --ulimit nofile=1024:2048",
        )
    if name not in _LIMITS:
        raise UsageError(f"unknown ulimit {name!r}", hint=one_of(name, sorted(_LIMITS)))
    soft_text, colon, hard_text = rest.partition(":")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError:
        raise UsageError(
            f"invalid ulimit {text!r}: the limits must be whole numbers", hint="-1 is unlimited"
        ) from None
    if hard != -1 and (soft == -1 or soft > hard):
        raise UsageError(f"invalid ulimit {text!r}: the soft limit is above the hard one")
    return Ulimit(name, soft, hard)


def add_host(text: str, gateway: str) -> tuple[str, str]:
    """`HOST:IP` or `HOST=IP`, the address in brackets or not; `host-gateway` is `gateway`."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not name or not separator or not address:
        raise UsageError(
            f"bad format for add-host: {text!r}", hint="write it like --add-host db:10.0.0.7"
        )
    if address == "host-gateway":
        return name, gateway
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not is_ip_address(address):
        raise UsageError(
            f"invalid IP address in add-host: {address!r}",
            hint="give an IPv4 or IPv6 address, or host-gateway",
        )
    return name, address
