"""One layer in its three forms: a tar, an upperdir, links in a merge.

Comes in: an image and the number of a layer. Goes out: for each path its entry in the tar (a
whiteout is `.wh.NAME`, an opaque directory has `.wh..wh..opq`, see image-spec layer.md), its entry
in the upperdir (a device 0:0, an attribute), and what a merge by hardlinks does with it. If the
layer is part of a plain chain, nothing of the image merges it; then it is applied to the tree that
it was made on. Read next: `minibuild.snapshot.trace`.
"""

import os
from collections.abc import Iterable

from minibuild.cache.materialise import Tell
from minibuild.image.listing import entries_of
from minibuild.imagetools.edit import Image
from minibuild.lab.merge_inputs import diffs_of, of_image
from minibuild.lab.place import own_place
from minibuild.layer.tar_format import TarEntry, whiteout
from minibuild.oci.transfer import copy_image
from minibuild.snapshot.api import Applied, Diff
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.snapshot.trace import chain, trace_diff, trace_merge
from minibuild.snapshot.upperdir import UpperEntry, upper_entries
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker, open_worker


class LayerPath(NamedTuple):
    """A path of the layer: its entries in the tar (a directory may have a second one, which says
    that it is opaque), its entry in the upperdir, and what a merge does with it."""

    path: str
    tar: tuple[TarEntry, ...] = ()
    upper: UpperEntry | None = None
    acts: tuple[Applied, ...] = ()


class LayerForms(NamedTuple):
    """A layer. `merge` says which merge the links are of; empty if none was made."""

    number: int
    digest: str
    instruction: str
    rows: tuple[LayerPath, ...]
    merge: str = ""
    has_upperdir: bool = False


def of_tar(image: Image, number: int) -> LayerForms:
    """The layer as its tar has it."""
    found: dict[str, LayerPath] = {}
    for _, entry, _ in entries_of(image.layers[number]):
        deleted = whiteout(entry.name)
        path = entry.name if deleted is None else deleted.path
        row = found.get(path, LayerPath(path))
        found[path] = row._replace(tar=(*row.tar, entry))
    digest, words = image.layers[number].digest, image.instructions[number]
    return LayerForms(number, digest, words, _in_order(found.values()))


def forms_on_disk(root: str, forms: LayerForms, image: Image, tell: Tell) -> LayerForms:
    """The same with its upperdir and its links. The image is looked at in the store if its layers
    are there, also that of an archive; else in a store of its own, into which it is copied."""
    source = image.layers[forms.number].source
    with own_place(root) as (outer, place):
        if all(outer.content.has(layer.digest) for layer in image.layers):
            return _on_disk(outer, forms, image, tell)
        with open_worker(place) as worker:
            copy_image(worker.content, source, image.descriptor)
            return _on_disk(worker, forms, image, tell)


def _on_disk(worker: Worker, forms: LayerForms, image: Image, tell: Tell) -> LayerForms:
    snapshots = worker.snapshots
    result = of_image(worker, "", image).result
    diffs = diffs_of(worker, result, tell)
    diff = diffs[forms.number]
    acts, merge = _links(snapshots, diffs, forms.number)
    uppers: dict[str, UpperEntry] = {}
    own = snapshots.max_layers > 1 and snapshots.table.parent(diff.upper) == diff.lower
    if own:
        listed = upper_entries(snapshots.layer_dir(diff.upper), snapshots.whiteouts)
        uppers = {entry.path: entry for entry in listed}
    rows = {row.path: row for row in forms.rows}
    for path in uppers.keys() | acts.keys():
        row = rows.get(path, LayerPath(path))
        rows[path] = row._replace(upper=uppers.get(path), acts=tuple(acts.get(path, ())))
    return forms._replace(rows=_in_order(rows.values()), merge=merge, has_upperdir=own)


def _links(
    snapshots: Snapshotter, diffs: list[Diff], number: int
) -> tuple[dict[str, list[Applied]], str]:
    """What is done to each path of a diff, and in which merge."""
    count, _ = chain(diffs)
    acts: dict[str, list[Applied]] = {}
    if number < count or diffs[number].lower == diffs[number].upper:
        below = f"layer {number - 1}" if number else "nothing"
        for act in trace_diff(snapshots, diffs[number]):
            acts.setdefault(act.path, []).append(act)
        return acts, f"none in this image; here it is put on the tree it was made on, {below}"
    for fate in trace_merge(snapshots, diffs).fates:
        own = [act for act in fate.acts if act.diff == number]
        if own:
            acts[fate.path] = own
    last = len(diffs) - 1
    return acts, f"layers {count} to {last} are put on layer {count - 1}, one after the other"


def _in_order(rows: Iterable[LayerPath]) -> tuple[LayerPath, ...]:
    """As a walk has them: a directory, then what is in it, names sorted as bytes."""
    return tuple(sorted(rows, key=lambda row: [os.fsencode(n) for n in row.path.split("/")]))
