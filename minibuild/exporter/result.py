"""What the solver made, what each exporter gets and gives back, and what a build came to, as data:
for Python, for the summary, for `--metadata-file`. Read next: `image`, `trees`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from minibuild.cache.results import DiffKey, Result
from minibuild.graph.frontend import Built
from minibuild.graph.reference import Reference
from minibuild.layer.layer import Layer
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor, descriptor_to_json
from minibuild.progress.writer import ProgressWriter
from minibuild.session.request import BuildResult, BuiltImage, LayerInfo
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

if TYPE_CHECKING:
    from minibuild.exporter.annotations import Annotation
    from minibuild.oci.config import AssembledImage


class ImageView(NamedTuple):
    """What an attestor sees of an image: its number among those of the build, its tree, if the
    attestor `looks_inside`, those of its `layers` that are packed, the time that stands for now
    (SOURCE_DATE_EPOCH), and what to call with a sentence about what it missed."""

    number: int
    tree_fd: int
    layers: Mapping[DiffKey, Descriptor]
    epoch: int | None
    remark: Callable[[str], None]


class Subject(NamedTuple):
    """What a statement is about: a name, and the digest of what has it."""

    name: str
    sha256: str


class Attestor(Protocol):
    """Writes statements about what a build made: how it was made, what is in it."""

    @property
    def looks_inside(self) -> bool:
        """Whether the files of the images are wanted."""

    def attest(
        self,
        content: ContentStore,
        built: Built,
        image: Descriptor,
        names: Sequence[Reference],
        view: ImageView,
        *,
        artifact: bool,
    ) -> Descriptor | None:
        """The attestations of one image, kept in the store: as an OCI artifact, or in the form of
        an image, for tools that know no artifacts. None if there are none."""

    def writes_files(self, built: Built) -> bool:
        """Whether an output that is files has attestations of this image beside it."""

    def files(
        self, built: Built, subjects: Sequence[Subject], view: ImageView
    ) -> Mapping[str, bytes]:
        """The statements about files, by the names of the files that they are written into."""


class SolveResult(NamedTuple):
    """What the solver made: images, the result of each, and the diffs that are base layers.

    `several` says that it is to be written as images for several platforms are, even if it is one.
    `inline` gives the members that say in the config of an image which steps made its layers.
    The `attestor` writes what was asked of the images beside them.
    """

    images: tuple[Built, ...]
    results: Sequence[Result]
    base: set[DiffKey]
    several: bool = False
    inline: Callable[[Result, Sequence[Layer], int | None], dict[str, Any]] | None = None
    attestor: Attestor | None = None


class OutputContext(NamedTuple):
    """What an exporter gets besides its `Output`: the build, what the solver made, and the names,
    annotations and time that are for all outputs."""

    build: BuildContext
    solved: SolveResult
    names: tuple[Reference, ...]
    epoch: int | None
    progress: ProgressWriter
    annotations: "tuple[Annotation, ...]" = ()
    squash: bool = False


class Exported(NamedTuple):
    """What one output wrote: the top document, its names, and the images below it."""

    top: Descriptor | None = None
    images: "tuple[AssembledImage, ...]" = ()
    names: tuple[Reference, ...] = ()


def known_layers(worker: Worker, result: Result) -> dict[DiffKey, Descriptor]:
    """Those layers of a result that are packed."""
    found = ((key, worker.diffs.get(key).layer) for key in result)
    return {key: layer.descriptor for key, layer in found if layer is not None}


def describe_build(
    build: BuildContext,
    solved: SolveResult,
    images: "Sequence[AssembledImage]",
    top: Descriptor | None,
    names: Sequence[Reference],
) -> BuildResult:
    """The result of a build; `images` are empty if none of its outputs was an image."""
    described = tuple(
        _image(build, built, result, image, solved)
        for built, result, image in zip(solved.images, solved.results, images, strict=False)
    )
    return BuildResult(
        images=described,
        digest=None if top is None else top.digest,
        tags=tuple(map(str, names)),
        metadata=_metadata(images, top, names),
    )


def _image(
    build: BuildContext, built: Built, result: Result, image: "AssembledImage", solved: SolveResult
) -> BuiltImage:
    """An image, and which instruction made each of its layers."""
    made_by = [e.get("created_by", "") for e in image.image.history if not e.get("empty_layer")]
    layers = tuple(
        LayerInfo(
            layer.diff_id,
            layer.descriptor.digest,
            layer.descriptor.size,
            layer.descriptor.media_type,
            instruction,
            # Made on nothing, and no layer of a base image: so are those of `COPY --link`.
            link=number > 0
            and len(result) == len(image.layers)  # none was put together with others
            and key not in solved.base
            and not build.worker.diffs.get(key).base,
        )
        for number, (key, layer, instruction) in enumerate(
            zip(result, image.layers, made_by, strict=False)
        )
    )
    return BuiltImage(
        built.platform,
        image.digest,
        image.config.digest,
        image.manifest.media_type,
        image.size_bytes,
        image.image,
        layers,
    )


def _metadata(
    images: "Sequence[AssembledImage]", top: Descriptor | None, names: Sequence[Reference]
) -> dict[str, Any]:
    """What `--metadata-file` holds, under the names that buildx uses."""
    data: dict[str, Any] = {}
    if len(images) == 1:
        data["containerimage.config.digest"] = images[0].config.digest
    if top is not None:
        data["containerimage.descriptor"] = descriptor_to_json(top)
        data["containerimage.digest"] = top.digest
    if names:
        data["image.name"] = ",".join(map(str, names))
    return data
