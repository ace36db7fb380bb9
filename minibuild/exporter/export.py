"""The last part of a build: results leave the solver as images, archives and directories.

Comes in: results and image configs. Goes out: what `--output` asked for, and a `BuildResult`.
Layers are packed here if they never were, several at a time; nothing is put on disk as a tree
unless an output is one (`local`, `tar`).
Read next: `result`, then `image`, `trees`: an exporter for each kind of output.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from minibuild.exporter.options import form_of, image_options
from minibuild.exporter.result import Exported, OutputContext, SolveResult, describe_build
from minibuild.graph.reference import parse_reference
from minibuild.oci.model import Descriptor, descriptor_to_json
from minibuild.progress.writer import task
from minibuild.session.request import BuildRequest, BuildResult, Output, OutputType
from minibuild.solver.layers import Packing
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.exporter.annotations import Annotation


def export(build: BuildContext, request: BuildRequest, solved: SolveResult) -> BuildResult:
    """Do all outputs of a request. Each is written whole or not at all."""
    names = tuple(dict.fromkeys(parse_reference(tag) for tag in request.tags))
    seconds = request.build_args.get("SOURCE_DATE_EPOCH", "")  # a number, made of what it named
    epoch, annotations = int(seconds) if seconds else None, _annotations(request)
    first, tops = Exported(), list[Descriptor | None]()
    for output in request.outputs or (Output("image"),):
        if output.type == "cacheonly" and solved.attestor is None:
            tops.append(None)  # Nothing leaves the store: there is nothing to show.
            continue
        title, exporter = _exporter(output.type)
        dest = os.fspath(output.dest)
        with task(build.report, title, output.type, dest) as progress:
            target = OutputContext(
                build, solved, names, epoch, progress, annotations, request.squash
            )
            if solved.attestor is not None:
                # Not for images in the store and in registries alone: for other outputs as well.
                common = any(map(solved.attestor.writes_files, solved.images))
                nowhere = output.type in ("docker", "cacheonly")
                if nowhere or not (common or solved.several or _takes_inline(output)):
                    target = target._replace(solved=solved._replace(attestor=None))
                if nowhere and common:
                    progress.remark(f"no attestations: type={output.type} has no place for them")
            exported = exporter(target, output)
        first = first if first.images else exported
        tops.append(exported.top)
    made = describe_build(build, solved, first.images, first.top, first.names or names)
    return made._replace(descriptors=tuple(top and descriptor_to_json(top) for top in tops))


def _takes_inline(output: Output) -> bool:
    return form_of(output.type) != "image" or image_options(output).attestation_inline


def packing_for(request: BuildRequest) -> Packing | None:
    """How layers may be packed before the export asks for them; None if it will ask for trees."""
    outputs = request.outputs or (Output("image"),)
    forms = [form_of(output.type) for output in outputs]
    if "tree" in forms:
        return None
    if forms[0] == "nothing":
        return Packing(wanted=False)
    options = image_options(outputs[0])
    return Packing(options.compression or "gzip", options.level)


def _exporter(kind: OutputType) -> tuple[str, Callable[[OutputContext, Output], Exported]]:
    """What progress calls an output, and its exporter, which only builds that ask for it load."""
    match kind:
        case "image" | "registry":
            from minibuild.exporter.image import export_image

            return "exporting to image", export_image
        case "oci" | "docker":
            from minibuild.exporter.image import export_archive

            return f"exporting to {kind} image format", export_archive
        case "local":
            from minibuild.exporter.trees import export_directory

            return "exporting to client directory", export_directory
        case "tar":
            from minibuild.exporter.trees import export_tarball

            return "exporting to client tarball", export_tarball
        case "cacheonly":
            return "keeping the cache", lambda target, output: Exported()
    assert_never(kind)


def _annotations(request: BuildRequest) -> "tuple[Annotation, ...]":
    """Those of `--annotation`, which are for every output that is an image."""
    if not request.annotations:
        return ()
    from minibuild.exporter.annotations import parse_flag

    return tuple(made for text in request.annotations for made in parse_flag(text))
