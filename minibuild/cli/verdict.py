"""Whether two builds came out alike, and if not, where they parted.

Comes in: two OCI layouts. Goes out: a verdict, and lines for a person: the first step whose layer
differs, the first file in it, and what is known of such files.
Read next: `minibuild.imagetools.compare`.
"""

import fnmatch
from collections.abc import Iterator

from minibuild.cli.summary import instruction
from minibuild.digest import Digest
from minibuild.image.archive import open_layout
from minibuild.image.layout import Layout
from minibuild.imagetools.compare import EntryDifference, ValueChange, document_changes, first_in
from minibuild.imagetools.edit import Image, read_image
from minibuild.oci.transfer import manifests_of
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple


class Verdict(NamedTuple):
    """`digest` of both, or what differs first: a layer, by its `step`; else the config."""

    digest: Digest
    differs: bool = False
    layers: tuple[int, int] = (0, 0)
    """How many differ, of how many."""
    step: str = ""
    file: EntryDifference | None = None
    value: ValueChange | None = None
    platform: str = ""


# What often differs, and what to do about it: patterns of paths, and advice.
_KNOWN = (
    ("var/cache/ldconfig/aux-cache", "remove it in the same RUN: it holds inode numbers"),
    ("var/log/*", "remove logs in the same RUN"),
    ("var/cache/debconf/*", "remove debconf's caches in the same RUN"),
    ("*.pyc", "PYTHONDONTWRITEBYTECODE=1, or compile with --invalidation-mode unchecked-hash"),
    ("etc/machine-id", "empty it in the same RUN"),
    ("etc/shadow*", "the day of the last change: set it with chage -d 0"),
    ("*.gz", "gzip -n writes neither name nor time"),
    ("*.jar", "an archive with times: have it made with SOURCE_DATE_EPOCH"),
    ("*.zip", "an archive with times: have it made with SOURCE_DATE_EPOCH"),
    ("*.a", "an archive with times: ar with the flag D"),
)
_TIME = regex(r"\d\d:\d\d|(?<!\d)1[6-9]\d{8}(?!\d)|20\d\d-\d\d|(Jan|Feb|Mar|Apr|May|Jun|Jul"
                   r"|Aug|Sep|Oct|Nov|Dec) +\d")  # fmt: skip


def compare(first: str, second: str) -> Verdict:
    """Compare the images of two layouts."""
    one, two = open_layout(first), open_layout(second)
    top = two.index.manifests[0]
    if one.index.manifests[0].digest == top.digest:
        return Verdict(top.digest)
    pairs = list(zip(_images(one), _images(two), strict=True))
    for old, new in pairs:
        found = _parted(old, new)
        if found is not None:
            several = str(new.platform) if len(pairs) > 1 else ""
            return found._replace(digest=top.digest, platform=several)
    return Verdict(top.digest, differs=True)


def _images(layout: Layout) -> Iterator[Image]:
    for descriptor, _ in manifests_of(layout, layout.index.manifests[0]):
        yield read_image(layout, descriptor)


def _parted(old: Image, new: Image) -> Verdict | None:
    """Where two images of a platform part; None if they are the same."""
    if old.descriptor.digest == new.descriptor.digest:
        return None
    layers = list(zip(old.layers, new.layers, strict=False))
    differing = [n for n, (a, b) in enumerate(layers) if a.diff_id != b.diff_id]
    verdict = Verdict(Digest(""), differs=True, layers=(len(differing), len(new.layers)))
    if differing:
        number = differing[0]
        file = first_in(old.layers[number], new.layers[number])
        return verdict._replace(step=instruction(new.instructions[number]), file=file)
    values = document_changes(old, new)
    if not values and old.history != new.history:
        values = [ValueChange("history", list(old.history), list(new.history))]
    return verdict._replace(value=values[0] if values else None)


def tell(verdict: Verdict, epoch: str) -> Iterator[str]:
    """The lines for a person; `epoch` is the SOURCE_DATE_EPOCH of both builds."""
    if not verdict.differs:
        yield f"reproducible  {verdict.digest}"
        yield f"              SOURCE_DATE_EPOCH={epoch}"
        yield "              rewrite-timestamp=true"
        return
    count, total = verdict.layers
    yield f"not reproducible: {count} of {total} layers differ"
    if verdict.platform:
        yield f"platform  {verdict.platform}"
    if verdict.step:
        yield f"step      {verdict.step}"
    if verdict.file is not None:
        yield from _file_lines(verdict.file)
    elif verdict.step:
        yield "file      none: the same files, in another order"
    if verdict.value is not None:
        name, old, new = verdict.value
        yield f"config    {name}"
        yield f"first     {old!r}"
        yield f"second    {new!r}"


def _file_lines(found: EntryDifference) -> Iterator[str]:
    kind, path, what = found.change
    only = "only in the second build" if kind == "added" else "only in the first build"
    yield f"file      /{path}  ({', '.join(what) or only})"
    if found.detail is not None:
        yield f"first     {found.detail[0]}"
        yield f"second    {found.detail[1]}"
    elif found.old is not None and found.new is not None:
        for side, entry in (("first ", found.old), ("second", found.new)):
            yield f"{side}    {_entry_text(entry.mode, entry.uid, entry.gid, entry.mtime_ns)}"
    if advice := _advice(found):
        yield f"advice    {advice}"


def _entry_text(mode: int, uid: int, gid: int, mtime_ns: int) -> str:
    return f"mode {mode:04o}, owner {uid}:{gid}, time {mtime_ns / 1e9:.9f}".rstrip("0").rstrip(".")


def _advice(found: EntryDifference) -> str:
    path, what = found.change.path, found.change.what
    for pattern, advice in _KNOWN:
        if fnmatch.fnmatch(path, pattern):
            return advice
    if what == ("time",):
        return "COPY keeps times before SOURCE_DATE_EPOCH: choose one before those of the context"
    if found.detail is not None and all(map(_TIME.search, found.detail)):
        return "it looks like a time: have the program use SOURCE_DATE_EPOCH (ARG it in the stage)"
    return ""
