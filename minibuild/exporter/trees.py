"""`type=local` and `type=tar`: the files of a result, as a directory or as a tar.

Comes in: results. Goes out: files elsewhere. A result is put on disk as a tree here, once.
Read next: `local`, `tar`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from minibuild.exporter.local import export_local
from minibuild.exporter.options import tree_options
from minibuild.exporter.output import Exported, OutputContext
from minibuild.exporter.tar import export_tar
from minibuild.session.request import Output


@contextmanager
def trees_of(target: OutputContext, split: bool | None) -> Iterator[list[tuple[str, int]]]:
    """The tree of each platform as (folder, descriptor); the folder is "" for a single one."""
    several = target.solved.several if split is None else split
    with ExitStack() as stack:
        trees = []
        for built, result in zip(target.solved.images, target.solved.results, strict=True):
            snapshot = target.build.materialiser.snapshot(result, target.progress.remark)
            if snapshot is None:
                snapshot = target.build.worker.snapshots.prepare(None)
                stack.callback(target.build.worker.snapshots.remove, snapshot)
            fd = stack.enter_context(target.build.worker.snapshots.tree(snapshot))
            folder = str(built.platform).replace("/", "_") if several else ""
            trees.append((folder, fd))
        yield trees


def export_directory(target: OutputContext, output: Output) -> Exported:
    options = tree_options(output, target.epoch)
    dest = os.fspath(output.dest) or "."
    with trees_of(target, options.platform_split) as trees:
        for folder, fd in trees:
            done = export_local(
                fd,
                os.path.join(dest, folder) if folder else dest,
                clamp_epoch=options.epoch,
                delete=options.delete,
            )
            for left_out in done.skipped:
                target.progress.remark(left_out)
    return Exported()


def export_tarball(target: OutputContext, output: Output) -> Exported:
    options = tree_options(output, target.epoch)
    with trees_of(target, options.platform_split) as trees:
        export_tar(trees, os.fspath(output.dest) or "-", clamp_epoch=options.epoch)
    return Exported()
