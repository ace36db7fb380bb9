"""`minibuild image attestations`: the provenance and the packages that an image was built with.

Comes in: the name of an image in the store. Goes out: a table of what is said of it, or with
`--type` the statements themselves, as JSON. Read next: `minibuild.attest.statement`.
"""

import argparse
from typing import Any

from minibuild.attest.statement import Attestation, attestations_of
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import Images, find, open_images
from minibuild.cli.table import short_id
from minibuild.errors import ImageError
from minibuild.oci.content import read_document
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor
from minibuild.progress.quantity import bytes_text

MAX_STATEMENT_BYTES = 64 << 20

_TYPES = {"provenance": "https://slsa.dev/provenance/", "sbom": "https://spdx.dev/"}


def _flags(made: Parser) -> None:
    made.description = "Show what a build said of its image: see `build --provenance` and `--sbom`."
    made.word("IMAGE", "name, digest or id")
    made.add_argument("--type", choices=tuple(_TYPES), help="print the statements of this type")


def _run(options: argparse.Namespace, session: Session) -> None:
    with open_images(session.root) as images:
        found = attestations_of(images.content, find(images, options.image).descriptor)
        if not found:
            raise ImageError(
                f"nothing is said of {options.image}",
                hint="build it with --provenance=mode=max or --sbom",
            )
        if options.type:
            wanted = [said for said in found if said.type.startswith(_TYPES[options.type])]
            values = [_statement(images, said.blob) for said in wanted]
            return session.say_json(values[0] if len(values) == 1 else values)
    session.say_table(["IMAGE", "SAYS", "SIZE"], [_row(said) for said in found], right="SIZE")


def _statement(images: Images, blob: Descriptor) -> dict[str, Any]:
    data = read_document(images.content, blob, MAX_STATEMENT_BYTES)
    return parse_document(data, f"statement {blob.digest}", limit=MAX_STATEMENT_BYTES).object()


def _row(said: Attestation) -> list[str]:
    return [short_id(said.image), said.type, bytes_text(said.blob.size)]


COMMANDS = {"image attestations": Command(_flags, _run)}
