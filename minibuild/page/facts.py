"""What a page shows of a build, found out once: causes, times, layers, files, what steps wrote.

Comes in: a build, the records beside it, and a worker. Goes out: `Facts`. Layers are read from the
store, one after the other; the diffs of other stages are read where they lie. What is no longer
there is left out. Read next: `document`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from minibuild.cache.results import DiffKey
from minibuild.errors import BuildError, ImageError, StoreError
from minibuild.imagetools.edit import Image
from minibuild.imagetools.usage import ImageUsage, usage
from minibuild.imagetools.waste import LayerOrigin
from minibuild.progress.quantity import bytes_text
from minibuild.record.blame import Blame, CopySource
from minibuild.record.changes import changes
from minibuild.record.image_builds import image_of, layers_of
from minibuild.record.lookup import known_parts, mask_of_keys, masked, where_ran
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep, longest_chain
from minibuild.record.secrecy import Mask
from minibuild.record.story import GetParts, Story, newest_before, story
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

DELETED = "deleted"


class WrittenPath(NamedTuple):
    """A path that a step wrote, and its size; or what else is to be said of it."""

    path: str
    note: str


def of_layers(used: ImageUsage) -> list[list[WrittenPath]]:
    """What each layer of an image holds, and what it hides."""
    found: list[list[WrittenPath]] = [[] for _ in used.layers]
    for path, item in used.tree.items():
        if item.entry.kind != "dir":
            found[item.layer].append(WrittenPath(path, bytes_text(item.entry.size)))
    for one in used.hidden:
        size = bytes_text(one.size_bytes)
        found[one.layer].append(WrittenPath(one.path, f"{size}, hidden by layer {one.by}"))
        if one.path not in used.tree:
            found[one.by].append(WrittenPath(one.path, DELETED))
    return [sorted(set(paths)) for paths in found]


def of_steps(
    worker: Worker, makers: Mapping[int, RecordedStep], known: Iterable[int]
) -> Iterator[tuple[int, list[WrittenPath]]]:
    """What the other steps wrote, by their numbers; `known` are those that are not asked for."""
    done = set(known)
    for diff, step in makers.items():
        if step.is_step and step.number not in done:
            try:
                yield step.number, sorted(set(_of_diff(worker, DiffKey(diff))))
            except (BuildError, KeyError, OSError):
                continue  # It is no longer here.


def _of_diff(worker: Worker, key: DiffKey) -> Iterator[WrittenPath]:
    for one in changes(worker, key):
        if one.sort != "dir":
            yield WrittenPath(one.path, DELETED if one.sort == "gone" else bytes_text(one.size))


class LayerFacts(NamedTuple):
    """A layer: the step that made it, if that is known, and where it comes from."""

    step: RecordedStep | None
    origin: LayerOrigin

    @property
    def is_base(self) -> bool:
        """Whether the base image has it."""
        return self.origin.kind == "base"


class FileFacts(NamedTuple):
    """A file of an image: the layer that it is in, and what it is a copy of."""

    path: str
    size_bytes: int
    layer: int
    source: CopySource | None


class ImageFacts(NamedTuple):
    """An image of the build. `files` are those that are seen and not of the base image."""

    image: Image
    usage: ImageUsage
    layers: tuple[LayerFacts, ...]
    files: tuple[FileFacts, ...]


class Facts(NamedTuple):
    """All of it. `chain` are the steps that took longest one after the other; `ran_in` says of a
    key in which build a step of it ran, `parts` what it was made of, without secrets; `makers` says
    which step made a diff, `written` what each step wrote."""

    build: BuildRecord
    story: Story
    chain: tuple[RecordedStep, ...]
    ran_in: Mapping[str, tuple[BuildRecord, RecordedStep]]
    parts: GetParts
    makers: Mapping[int, RecordedStep]
    images: tuple[ImageFacts, ...]
    written: Mapping[int, Sequence[WrittenPath]]

    def where(self, step: RecordedStep) -> tuple[BuildRecord, RecordedStep] | None:
        """The build in which a step ran: this one, or of a cached step an earlier one."""
        if step.ran:
            return self.build, step
        return None if step.key is None else self.ran_in.get(step.key)


def facts(
    worker: Worker, records: BuildRecords, build: BuildRecord, against: BuildRecord | None = None
) -> Facts:
    """Find out what there is to show of a build; by default compared with the one before it."""
    if against is None and build.place:
        against = newest_before(records.of_place(build.place), build)
    builds = tuple(filter(None, (build, against)))
    kept = known_parts(worker.cache, *builds)
    mask = mask_of_keys(kept, *builds)
    parts = masked(kept, mask)
    blame = Blame(worker, build, parts)
    images = tuple(_images(worker, build, blame, mask))
    written = dict(_written(images))
    for number, paths in of_steps(worker, blame.makers, written):
        written[number] = [one._replace(path=mask.text(one.path)) for one in paths]
    return Facts(
        build,
        story(build, against, parts),
        tuple(longest_chain(build, lambda step: step.seconds)),
        where_ran(records, build),
        parts,
        blame.makers,
        images,
        written,
    )


# --- Images ---


def _images(worker: Worker, build: BuildRecord, blame: Blame, mask: Mask) -> Iterator[ImageFacts]:
    for output in build.outputs:
        image = image_of(worker.content, output)
        if image is None:
            continue
        try:
            used = _masked(usage(image.layers), mask)
        except (ImageError, StoreError, OSError):
            continue  # A layer is not here: pruned, or never fetched.
        layers = tuple(_layers(image, build, output.get("vertex"), mask))
        yield ImageFacts(image, used, layers, tuple(_files(used, layers, blame)))


def _masked(used: ImageUsage, mask: Mask) -> ImageUsage:
    """The same where paths have no secrets in them, as they rarely have."""
    if not mask:
        return used
    tree = {mask.text(path): item for path, item in used.tree.items()}
    hidden = tuple(one._replace(path=mask.text(one.path)) for one in used.hidden)
    return used._replace(tree=tree, hidden=hidden)


def _layers(image: Image, build: BuildRecord, last: int | None, mask: Mask) -> Iterator[LayerFacts]:
    """The layers with the steps that made them; of a squashed image the history tells."""
    found = None if last is None else (build, build.steps[last])
    for step, origin in layers_of(image, found):
        yield LayerFacts(step, origin._replace(words=mask.text(origin.words)))


def _written(images: Sequence[ImageFacts]) -> Iterator[tuple[int, Sequence[WrittenPath]]]:
    for image in images:
        for layer, paths in zip(image.layers, of_layers(image.usage), strict=True):
            if layer.step is not None and not layer.is_base:
                yield layer.step.number, paths


def _files(used: ImageUsage, layers: Sequence[LayerFacts], blame: Blame) -> Iterator[FileFacts]:
    for path, item in used.tree.items():
        layer = layers[item.layer]
        if item.entry.kind == "dir" or layer.is_base:
            continue
        copied = layer.step is not None and layer.step.kind == "file"
        source = blame.copied(layer.step, path) if copied and layer.step else None
        yield FileFacts(path, item.entry.size, item.layer, source)
