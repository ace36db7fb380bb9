"""`minibuild image layer IMAGE N`: one layer three ways, side by side.

Comes in: an image and the number of a layer. Goes out: a row for each path: as the tar has it,
with whiteout files; as it lies in an upperdir, with devices and opaque attributes; and what becomes
of it as links in a merge. The first is read from the blob; the others take snapshots, and so root
or a user namespace: without, they are named. Read next: `minibuild.lab.layer_forms`.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from minibuild.cli.command import Command, Session
from minibuild.cli.image_look import add_options, image_of
from minibuild.cli.lab_try import upper_data, upper_words, why_no_snapshots
from minibuild.cli.merge_trace import act_words
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_images
from minibuild.cli.table import table
from minibuild.errors import UsageError
from minibuild.graph.literals import parse_uint
from minibuild.lab.layer_forms import LayerForms, LayerPath, forms_on_disk, of_tar
from minibuild.layer.tar_format import TarEntry, whiteout
from minibuild.progress.console import visible

_SHOWN = 200


def _flags(made: Parser) -> None:
    made.description = "Show one layer as a tar, as an upperdir, and as links in a merge."
    made.epilog = (
        "IMAGE is one of the store, or an archive or OCI layout: a path with a slash.\n"
        "N counts from 0, as in `minibuild image tree`. Without snapshots, only the tar is shown."
    )
    made.word("IMAGE", "name, digest, id, or path")
    made.word("N", "the number of the layer; the base is 0", dest="number")
    made.value("--path P", "only this path and what is below it")
    made.switch("--all", f"show all paths, not the first {_SHOWN}")
    add_options(made)


def _run(options: argparse.Namespace, session: Session) -> None:
    platform = session.platform(options.platform)
    root = session.root
    unable = why_no_snapshots()
    with open_images(root) as images:
        image = image_of(images, options.image, platform)
        number = _number(options.number, len(image.layers))
        forms = of_tar(image, number)
        if not unable:
            forms = forms_on_disk(root, forms, image, session.tell)
    path = options.path.strip("/")
    rows = [r for r in forms.rows if not path or f"{r.path}/".startswith(f"{path}/")]
    lines = _told(forms, rows, unable, len(rows) if options.all else _SHOWN)
    session.say_result(options, _as_data(forms, rows, unable), lines)


def _number(word: str, layers: int) -> int:
    if not layers:
        raise UsageError("the image has no layers")
    number = parse_uint(word, layers - 1)
    if number < 0:
        raise UsageError(f"there is no layer {word}", hint=f"its layers are 0 to {layers - 1}")
    return number


# --- As text ---


def _told(forms: LayerForms, rows: list[LayerPath], unable: str, most: int) -> Iterator[str]:
    yield f"layer {forms.number}: {visible(' '.join(forms.instruction.split()) or '(no history)')}"
    if forms.merge:
        yield f"the merge: {forms.merge}"
    yield ""
    header = ["AS A TAR", "AS AN UPPERDIR", "AS LINKS IN A MERGE"]
    cells = [
        [
            ", ".join(map(_entry, row.tar)),
            "" if row.upper is None else upper_words(row.upper),
            "; ".join(map(act_words, row.acts)),
        ]
        for row in rows[:most]
    ]
    if not cells:
        yield "no path is like that" if forms.rows else "the layer is empty"
    elif unable:
        yield from table(header[:1], [row[:1] for row in cells])
    else:
        yield from table(header, cells)
    if unable:
        yield ""
        yield f"its upperdir and its links in a merge take snapshots, and there are none: {unable}"
    elif not forms.has_upperdir:
        yield ""
        yield "it has no upperdir of its own: full copies have none, nor has the diff of two trees"
    if len(rows) > most:
        yield f"... and {len(rows) - most} more: see them with --all"


def _entry(entry: TarEntry) -> str:
    if whiteout(entry.name):
        return entry.name
    if entry.kind == "link":
        return f"{entry.name} => {entry.linkname}"
    if entry.kind == "symlink":
        return f"{entry.name} -> {entry.linkname}"
    slash = "/" if entry.kind == "dir" else ""
    size = f" {entry.size} B" if entry.kind == "file" else ""
    return f"{entry.name}{slash}  {entry.mode:04o}{size}"


# --- As data ---


def _as_data(forms: LayerForms, rows: list[LayerPath], unable: str) -> dict[str, Any]:
    return {
        "layer": forms.number,
        "digest": forms.digest,
        "instruction": forms.instruction,
        "merge": forms.merge or None,
        "unable": unable or None,
        "paths": [
            {
                "path": row.path,
                "tar": [
                    {
                        "name": e.name,
                        "type": e.kind,
                        "mode": f"{e.mode:04o}",
                        "size": e.size,
                        "target": e.linkname or None,
                    }
                    for e in row.tar
                ],
                "upperdir": row.upper and upper_data(row.upper),
                "merge": [{"action": act.action, "reason": act.reason} for act in row.acts],
            }
            for row in rows
        ],
    }


COMMANDS = {"image layer": Command(_flags, _run)}
