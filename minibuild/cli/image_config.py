"""`minibuild image config`: how an image is to be run, changed without building.

Comes in: names, and flags that are named as the instructions of a Dockerfile. Goes out: an image
with the same layers under another name, in the store or, with `--push`, in its registry, where
nothing but documents is transferred. Read next: `minibuild.imagetools.reconfigure`.
"""

import argparse

from minibuild.buildflags.attributes import assignments
from minibuild.cli.command import Command, Session
from minibuild.cli.image_edit import ImageAccess, edit_flags, edited
from minibuild.cli.parser import Parser
from minibuild.errors import UsageError
from minibuild.imagetools.edit import Image, write_image
from minibuild.imagetools.reconfigure import Changes, reconfigured
from minibuild.oci.document import parse_value
from minibuild.oci.model import Descriptor
from minibuild.oci.multi import MultiSource

_PROTOCOLS = ("tcp", "udp", "sctp")


def _flags(made: Parser) -> None:
    made.epilog = "An empty VALUE takes a setting out. A new entrypoint takes the old command away."
    edit_flags(made, remote=True)
    made.values("-e --env K=V", "a variable")
    made.values("--unset-env K", "no such variable")
    made.values("--label K=V", "a label")
    made.values("--unset-label K", "no such label")
    made.values("--annotation K=V", "an annotation of the manifest")
    made.value("-u --user VALUE", "who runs it: USER[:GROUP]", default=None)
    made.value("-w --workdir VALUE", "where it runs", default=None)
    made.value("--entrypoint VALUE", 'a program, or a JSON list: ["/app", "--serve"]', default=None)
    made.value("--cmd VALUE", "a word, or a JSON list", default=None)
    made.value("--stop-signal VALUE", "such as SIGINT", default=None)
    made.values("--expose PORT[/tcp|udp]", "a port that it listens on")
    made.values("--volume PATH", "a directory that is to be a volume")


def _run(options: argparse.Namespace, session: Session) -> None:
    changes, annotations = _changes(options), assignments(options.annotation, "annotation")
    if changes == Changes() and not annotations:
        raise UsageError("there is nothing to change", hint="see `minibuild image config --help`")

    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        entry = {
            "created": image.config.get("created", ""),
            "created_by": "minibuild image config",
            "empty_layer": True,
        }
        return write_image(
            blobs,
            image,
            image.layers,
            [*image.history, entry] if image.history else [],
            config=reconfigured(image.config, changes),
            annotations={**image.manifest.annotations, **annotations},
        )

    edited(options, session, "made", edit)


def _changes(options: argparse.Namespace) -> Changes:
    return Changes(
        env=assignments(options.env, "env"),
        without_env=tuple(options.unset_env),
        labels=assignments(options.label, "label"),
        without_labels=tuple(options.unset_label),
        user=options.user,
        workdir=_absolute(options.workdir, "workdir") if options.workdir else options.workdir,
        entrypoint=_words(options.entrypoint, "entrypoint"),
        cmd=_words(options.cmd, "cmd"),
        stop_signal=options.stop_signal,
        ports=tuple(_port(text) for text in options.expose),
        volumes=tuple(_absolute(text, "volume") for text in options.volume),
    )


def _words(text: str | None, flag: str) -> tuple[str, ...] | None:
    """A JSON list of words, or one word; nothing for the empty text."""
    if text is None or not text.startswith("["):
        return text if text is None else (text,) if text else ()
    words = parse_value(text.encode("utf-8", "surrogateescape"), f"--{flag}", error=UsageError)
    return tuple(words.words())


def _port(text: str) -> str:
    number, _, protocol = text.partition("/")
    known = (protocol or "tcp") in _PROTOCOLS
    if not known or not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise UsageError(f"--expose {text} is no port", hint="write it like 80 or 53/udp")
    return f"{int(number)}/{protocol or 'tcp'}"


def _absolute(text: str, flag: str) -> str:
    if not text.startswith("/"):
        raise UsageError(f"--{flag} {text}: the path must begin with a slash")
    return text


COMMANDS = {"image config": Command(_flags, _run)}
