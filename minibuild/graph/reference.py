"""Names of images as people write them, and as registries know them.

Comes in: `busybox`, `localhost:5000/team/app:1.2@sha256:...`. Goes out: a `Reference` with all
parts filled in, as Docker does it: no registry means docker.io, a single word there is below
`library/`, no tag and no digest means `latest`. Rules: the grammar of the distribution project's
reference package, and its words where people search for them.
Read next: `oci.model`, whose documents references lead to.
"""

import re

from minibuild.digest import Digest, InvalidDigest, parse_digest
from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

SCRATCH = "scratch"
"""The name of the empty image, which no registry has."""

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = regex(f"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = regex(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_TAG = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LETTERS = "a name has small letters, digits, and single '.', '_', '-' between"
_MAX_NAME = 255
_ID_LENGTH = 64


class Reference(NamedTuple):
    """A full name. At least one of `tag` and `digest` is set."""

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """As Docker shows it to people: the defaults left out."""
        name = self.name
        if self.domain == DEFAULT_DOMAIN:
            name = self.path.removeprefix("library/")
            # What is left must not be read as a registry: library/example.com/x keeps its prefix.
            if _is_domain(name.partition("/")[0]) and "/" in name:
                name = self.path
        return name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def _is_domain(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _invalid(text: str, why: str, hint: str = "") -> DefinitionError:
    return DefinitionError(f"invalid reference format: {text!r}: {why}", hint=hint)


def _split_name(rest: str) -> tuple[str, str]:
    first, slash, path = rest.partition("/")
    if not slash or not _is_domain(first):
        domain, path = DEFAULT_DOMAIN, rest
    else:
        domain = first
    if domain in ("index.docker.io", DEFAULT_DOMAIN):
        domain = DEFAULT_DOMAIN
        if "/" not in path:
            path = "library/" + path
    return domain, path


def parse_reference(text: str) -> Reference:
    """The image that `text` names. Raises `DefinitionError`."""
    rest, at, digest_text = text.partition("@")
    digest: Digest | None = None
    if at:
        try:
            digest = parse_digest(digest_text)
        except InvalidDigest as error:
            hint = "behind an @ stands sha256: and 64 hex digits; a tag stands behind a colon"
            raise _invalid(text, str(error), hint) from None
    tag = ""
    # A colon after the last slash begins a tag; one before it belongs to a port.
    if ":" in rest.rpartition("/")[2]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise _invalid(text, "a tag has up to 128 letters, digits, '_', '.' and '-'")
    if len(rest) == _ID_LENGTH and re.fullmatch(r"[0-9a-f]+", rest):
        raise DefinitionError(
            f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings",
            hint="that is an id, and not a name: write NAME@sha256:DIGEST",
        )
    domain, path = _split_name(rest)
    if not path.removeprefix("library/"):
        raise _invalid(text, "the name is empty")
    if not _DOMAIN.fullmatch(domain):
        raise _invalid(text, f"{domain!r} is no registry")
    if not _PATH.fullmatch(path):
        if path.lower() != path:
            small = _PATH.fullmatch(path.lower())
            raise DefinitionError(
                f"invalid reference format: repository name ({path}) must be lowercase",
                hint=f"write {rest.lower()}{text[len(rest) :]}" if small else _LETTERS,
            )
        raise _invalid(text, _LETTERS)
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise _invalid(text, f"the name is longer than {_MAX_NAME} characters")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def familiar_name(text: str) -> str:
    """The shortest name that means the same; the text itself if it names no image. By this the
    name of a named context is compared with that of an image."""
    try:
        return parse_reference(text).familiar.removesuffix(f":{DEFAULT_TAG}")
    except DefinitionError:
        return text
