"""A source as an address with attributes: the form in which LLB and policies name it.

Comes in: a source of the graph. Goes out: its identifier, such as
`docker-image://docker.io/library/busybox:latest`, and attributes that say how to read it; and back.
How a folder of the client is read only a session knows: those attributes are not here.
Rules: moby/buildkit `solver/pb/attr.go`, `client/llb/source.go`.
Read next: `source_policy`.
"""

from collections.abc import Mapping
from typing import assert_never

from minibuild.digest import Digest
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.pattern import clean
from minibuild.graph.platform import Platform
from minibuild.graph.reference import parse_reference
from minibuild.startup.tuples import NamedTuple

_NAMED = "context:"
_IMAGE = ("docker-image", "oci-layout")
_REFUSED = ("image.checksum", "image.layerlimit")
_HEADERS = (("Accept", "http.header.accept"), ("User-Agent", "http.header.user-agent"))


class Identified(NamedTuple):
    """The name of a source, and how it is read."""

    identifier: str
    attributes: Mapping[str, str] = {}


def identified(source: op.Source) -> Identified:
    """A source by its name."""
    match source:
        case op.ImageSource(ref, digest, _, origin):
            if origin.startswith("oci-layout://"):
                return Identified(f"{origin}@{digest}")
            # A pinned name may be that of an index, and says more than the manifest in it.
            pinned = "@" in ref or not digest
            return Identified(f"docker-image://{ref if pinned else f'{ref}@{digest}'}")
        case op.LocalSource():
            # A named context is a folder of that name for the client.
            return Identified(f"local://{source.name.removeprefix(_NAMED)}")
        case op.HttpSource():
            return Identified(source.url, _of_http(source))
        case op.GitSource():
            return _of_git(source)
        case _ as unknown:
            assert_never(unknown)


def _of_http(source: op.HttpSource) -> Mapping[str, str]:
    found = {"http.filename": source.filename} if source.filename else {}
    if source.checksum:
        found["http.checksum"] = source.checksum
    found.update((f"http.header.{name.lower()}", value) for name, value in source.headers)
    if source.authorization:
        found["http.authheadersecret"] = source.authorization
    if source.mode != op.HttpSource("", "").mode:
        found["http.perm"] = f"0{source.mode:o}"
    return found


def _of_git(source: op.GitSource) -> Identified:
    ssh, place = _place(source.url)
    fragment = f"#{source.ref}" if source.ref or source.subdir else ""
    fragment += f":{source.subdir}" if source.subdir else ""
    found = {
        "git.authheadersecret": "GIT_AUTH_HEADER",
        "git.authtokensecret": "GIT_AUTH_TOKEN",
        "git.fullurl": source.url,
    }
    if ssh:
        found["git.mountsshsock"] = "default"
    if source.checksum:
        found["git.checksum"] = source.checksum
    if source.keep_git_dir:
        found["git.keepgitdir"] = "true"
    if not source.submodules:
        found["git.skipsubmodules"] = "true"
    return Identified(f"git://{place}{fragment}", found)


def _place(url: str) -> tuple[bool, str]:
    """Whether a repository is reached by ssh, and its address without scheme and user."""
    scheme, separator, rest = url.partition("://")
    if not separator:  # user@host:path
        host, _, path = url.rpartition("@")[2].partition(":")
        return True, f"{host}/{path.lstrip('/')}"
    host, slash, path = rest.partition("/")
    return scheme == "ssh", f"{host.rpartition('@')[2]}{slash}{path}"


def normalised(identifier: str) -> str:
    """A name as policies know it: that of an image in full, that of a repository without `..`."""
    scheme, _, rest = identifier.partition("://")
    if scheme == "docker-image":
        return f"{scheme}://{parse_reference(rest)}"
    place, mark, fragment = rest.partition("#")
    ref, colon, subdir = fragment.partition(":")
    if scheme != "git" or not subdir.strip("/"):
        return identifier
    return f"{scheme}://{place}{mark}{ref}{colon}{clean('/' + subdir).lstrip('/')}"


def source_named(named: Identified, platform: Platform) -> op.Source:
    """The source of a name; an image is still to be resolved, for `platform`. Raises
    `DefinitionError`."""
    identifier, attributes = named
    scheme, _, rest = identifier.partition("://")
    if scheme in _IMAGE:
        for name in _REFUSED:
            if name in attributes:
                raise DefinitionError(f"{name} of an image is not possible here")
        ref = rest if scheme == "docker-image" else identifier
        return op.ImageSource(ref, Digest(""), platform)
    if scheme == "local":
        return op.LocalSource(rest)
    if scheme in ("http", "https"):
        return _http(identifier, attributes)
    if scheme == "git":
        return _git(rest, attributes)
    raise DefinitionError(f"sources of the kind {scheme!r} are not possible here")


def _http(url: str, attributes: Mapping[str, str]) -> op.HttpSource:
    try:
        return op.HttpSource(
            url,
            attributes.get("http.filename", ""),
            attributes.get("http.checksum", ""),
            int(attributes.get("http.perm", "0600"), 8),
            tuple((name, attributes[key]) for name, key in _HEADERS if key in attributes),
            attributes.get("http.authheadersecret", ""),
        )
    except ValueError as error:
        raise DefinitionError(f"the source {url} makes no sense: {error}") from None


def _git(place: str, attributes: Mapping[str, str]) -> op.GitSource:
    address, _, fragment = place.partition("#")
    ref, _, subdir = fragment.partition(":")
    return op.GitSource(
        attributes.get("git.fullurl") or f"https://{address}",
        ref,
        subdir,
        attributes.get("git.checksum", ""),
        attributes.get("git.keepgitdir") == "true",
        attributes.get("git.skipsubmodules") != "true",
    )
