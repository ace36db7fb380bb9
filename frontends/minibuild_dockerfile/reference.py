"""Names of images as people write them, and what they stand for.

Comes in: `busybox`, `ghcr.io/a/b:1`. Goes out: the full name, with registry and tag.
The grammar is that of the distribution project's reference package; docker.io, `library/` and
`latest` are what Docker has always filled in.
Read next: `sources`, which resolves them.
"""

import re

from minibuild.startup.regex import regex

SCRATCH = "scratch"
"""The name of the empty image, which no registry has."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = regex(
    rf"({_DOMAIN})/({_COMPONENT}(?:/{_COMPONENT})*)(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII
)
_HEX_ID = regex(r"[a-f0-9]{64}")
_DEFAULT_DOMAIN = "docker.io"
_LIBRARY = "library/"


class InvalidReference(ValueError):
    """The text names no image."""


def full_name(text: str) -> str:
    """The name with registry, repository and tag or digest. Raises `InvalidReference`."""
    if _HEX_ID.fullmatch(text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, rest = _split_domain(text)
    repository = rest.partition(":")[0]
    if repository != repository.lower():
        raise InvalidReference(
            f"invalid reference format: repository name ({repository}) must be lowercase"
        )
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidReference("invalid reference format")
    tag = match[3] or ("" if match[4] else "latest")
    return (
        f"{match[1]}/{match[2]}" + (f":{tag}" if tag else "") + (f"@{match[4]}" if match[4] else "")
    )


def familiar_name(text: str) -> str:
    """The shortest name that means the same; the text itself if it names no image.

    By this the name of a named context is compared with that of an image.
    """
    try:
        name = full_name(text)
    except InvalidReference:
        return text
    return name.removeprefix(f"{_DEFAULT_DOMAIN}/").removeprefix(_LIBRARY).removesuffix(":latest")


def _split_domain(text: str) -> tuple[str, str]:
    """Registry and the rest. The first part is a registry if it could not be a user's name."""
    first, slash, rest = text.partition("/")
    is_domain = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    if not is_domain:
        first, rest = _DEFAULT_DOMAIN, text
    if first == "index.docker.io":
        first = _DEFAULT_DOMAIN
    if first == _DEFAULT_DOMAIN and "/" not in rest:
        rest = _LIBRARY + rest
    return first, rest
