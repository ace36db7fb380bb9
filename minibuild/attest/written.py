"""What steps wrote to be said of an image: files of their results, as predicates.

Comes in: an attestation, and the tree that it is in. Goes out: predicates, each with what it is
about. The files are hostile: nothing leads out of the tree, and what is no regular file, or too
large, is an error.
Rules: moby/buildkit `exporter/attestation`. Read next: `statement`.
"""

import os
import posixpath
from collections.abc import Iterator

from minibuild.attest.statement import Predicate
from minibuild.errors import DefinitionError, os_errors_as
from minibuild.graph.frontend import StepAttestation
from minibuild.linux.beneath import open_beneath, read_plain
from minibuild.linux.descriptors import closing_fd
from minibuild.oci.document import parse_document, parse_value

_MAX_BYTES = 40 << 20
_OURS = "https://slsa.dev/provenance/"


def predicates_of(attestation: StepAttestation, tree_fd: int) -> list[Predicate]:
    """The predicates in a tree; first the SBOM of the image itself. Raises `DefinitionError`."""
    found = [
        one._replace(core=bool(attestation.core) and one.file.partition(".")[0] == attestation.core)
        for one in _found(attestation, tree_fd)
    ]
    return sorted(found, key=lambda one: not one.core)


def _found(attestation: StepAttestation, tree_fd: int) -> Iterator[Predicate]:
    if attestation.bundle:
        yield from _bundled(attestation, tree_fd)
        return
    data, kind = _read(tree_fd, attestation.path), attestation.predicate_type
    subjects = tuple(
        {"name": name, "digest": dict(digest.split(":", 1) for digest in digests)} if name else {}
        for name, digests in attestation.subjects
    )
    what = f"the attestation {attestation.path}"
    content = (
        parse_value(data, what, limit=_MAX_BYTES, error=DefinitionError).value if data else None
    )
    yield _checked(Predicate(kind, content, posixpath.basename(attestation.path), subjects))


def _bundled(attestation: StepAttestation, tree_fd: int) -> Iterator[Predicate]:
    for name in _names(tree_fd, attestation.path):
        path = posixpath.join(attestation.path, name)
        data, what = _read(tree_fd, path), f"the attestation {path}"
        statement = parse_document(data, what, limit=_MAX_BYTES, error=DefinitionError)
        kind, wanted = statement["predicateType"].text(), attestation.predicate_type
        if wanted and kind != wanted:
            raise DefinitionError(f"the attestation {path} says {kind!r}, and not {wanted!r}")
        subjects = tuple(subject.object() for subject in statement["subject"].items())
        yield _checked(Predicate(kind, statement["predicate"].value, name, subjects))


def _checked(predicate: Predicate) -> Predicate:
    if predicate.type.startswith(_OURS):
        raise DefinitionError(f"only the builder makes attestations of the type {predicate.type}")
    return predicate


def _names(tree_fd: int, path: str) -> list[str]:
    with (
        os_errors_as(DefinitionError, f"cannot read attestations in {path}"),
        closing_fd(open_beneath(tree_fd, path, os.O_RDONLY | os.O_DIRECTORY)) as fd,
    ):
        return sorted(os.listdir(fd))


def _read(tree_fd: int, path: str) -> bytes:
    problem = os_errors_as(DefinitionError, f"cannot read the attestation {path}")
    with problem:
        data = read_plain(tree_fd, path, _MAX_BYTES + 1)
    if data is None:
        raise DefinitionError(f"the attestation {path} is no regular file")
    if len(data) > _MAX_BYTES:
        raise DefinitionError(f"the attestation {path} has more than {_MAX_BYTES:,} bytes")
    return data
