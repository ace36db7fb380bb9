"""The values of flags that hold several things: `type=oci,dest=x`, `id=a,src=f`, `host:ip`.

Comes in: the text of one flag. Goes out: the value of the request, or a `UsageError` that says
how to write it. The syntax is that of `docker buildx build` (its flag reference, and buildx's
package `util/buildflags`): comma-separated fields as in a CSV file, so that a field may be quoted.
Nothing here looks at files or at the environment. Read next: `sizes`, `cache`.
"""

from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.op import Ulimit
from minibuild.session.request import Output

_OUTPUT_TYPES = ("image", "registry", "oci", "docker", "local", "tar", "cacheonly")
_LIMITS = frozenset(
    (
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
        "sigpending stack"
    ).split()
)


def fields(text: str) -> list[str]:
    """The fields of one CSV record; `"` quotes a field, and `""` inside stands for `"`."""
    found: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            field, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field, position = text[position:end], end
            if '"' in field:
                raise UsageError(
                    f"a quotation mark inside a field that does not begin with one: {field}",
                    hint="quote the whole field, and write a quotation mark in it twice",
                )
        found.append(field)
        if position == len(text):
            return found
        position += 1  # the comma


def _quoted(text: str, position: int) -> tuple[str, int]:
    field = ""
    while True:
        end = text.find('"', position)
        if end < 0:
            raise UsageError(f"a quoted field has no end: {text}")
        field += text[position:end]
        if text.startswith('""', end):
            field += '"'
            position = end + 2
            continue
        if end + 1 < len(text) and text[end + 1] != ",":
            raise UsageError(f"text after a quoted field: {text[end + 1 :]}", hint="put a comma")
        return field, end + 1


def attributes(text: str, flag: str) -> dict[str, str]:
    """The `key=value` fields of a flag; keys in lower case."""
    found: dict[str, str] = {}
    for field in fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(
                f"invalid field {field!r} in --{flag} {text}: it must be key=value",
                hint=f"see `minibuild build --help` for the form of --{flag}",
            )
        found[key.strip().lower()] = value
    return found


def output(text: str) -> Output:
    """`-o DIR`, `-o -`, or `-o type=...,dest=...,...`."""
    if "=" not in text and "," not in text and text:
        return Output("tar", "-") if text == "-" else Output("local", text)
    given = attributes(text, "output")
    dest = given.pop("dest", "")
    kind = given.pop("type", "")
    if not kind:
        if not dest:
            raise UsageError(
                f"--output {text} names no type", hint="add type=" + "|".join(_OUTPUT_TYPES)
            )
        kind = "tar" if dest == "-" else "local"
    if kind == "local" and dest in ("", "-"):
        raise UsageError(
            "an output of type local is a directory, and needs one: dest=DIR",
            hint="for one stream of all files use type=tar,dest=-",
        )
    for known in _OUTPUT_TYPES:
        if kind == known:
            return Output(known, dest, given)  # type: ignore[arg-type]
    raise UsageError(
        f"unknown output type {kind!r}", hint="the types are " + ", ".join(_OUTPUT_TYPES)
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
        raise UsageError(f"unknown ulimit {name!r}", hint="there are " + ", ".join(sorted(_LIMITS)))
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
    if not _is_address(address):
        raise UsageError(
            f"invalid IP address in add-host: {address!r}",
            hint="give an IPv4 or IPv6 address, or host-gateway",
        )
    return name, address


def _is_address(text: str) -> bool:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def build_context(text: str) -> tuple[str, str]:
    """`NAME=PATH|URL`. The name is an image's or a word: its default registry and tag go."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(
            f"invalid context value {text!r}: it must be NAME=VALUE",
            hint="write it like --build-context base=docker-image://alpine:3.20",
        )
    for prefix in ("index.docker.io/", "docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/").removesuffix(":latest"), value


def assignment(text: str, flag: str) -> tuple[str, str | None]:
    """`KEY=VALUE`, or `KEY` alone (then None): for build args, labels and annotations."""
    key, equals, value = text.partition("=")
    if not key:
        raise UsageError(f"--{flag} {text!r} has no name before the equals sign")
    insist_on_text(text, f"--{flag} {key}")
    return key, value if equals else None


def insist_on_text(value: str, what: str) -> None:
    """Refuse bytes that are no UTF-8: the config of an image is JSON, which cannot say them."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{what} is not UTF-8", hint="bytes that are no text can come from a file, by COPY"
        ) from None


def listed(text: str) -> list[str]:
    """`a,b`: the words between the commas."""
    return [word for word in (part.strip() for part in fields(text)) if word]


def check_reference(ref: str, text: str, flag: str, *, written: bool) -> None:
    """Raise `UsageError` if a flag's reference cannot be one, or not one that is `written` to."""
    from minibuild.oci.reference import parse_reference

    try:
        reference = parse_reference(ref)
    except DefinitionError as error:
        raise UsageError(f"--{flag} {text}: {error.message}", hint=error.hint) from None
    if written and reference.digest is not None:
        raise UsageError(
            f"--{flag} {text}: a digest cannot be written to", hint="give a tag: NAME:TAG"
        )
