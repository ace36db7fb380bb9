"""`type=local` and `type=tar`: the files of a result, as a directory or as a tar.

Comes in: results. Goes out: files elsewhere. A result is put on disk as a tree here, once. What is
said of it, its attestations, are files beside those of the result: they say which files they are
about, by name and digest. Read next: `local`, `tar`.
"""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.errors import UsageError, raise_if_cancelled
from minibuild.exporter.local import export_local
from minibuild.exporter.options import TreeOptions, tree_options
from minibuild.exporter.result import Exported, ImageView, OutputContext, Subject, known_layers
from minibuild.exporter.tar import OutputTree, export_tar
from minibuild.fileop.walk import walk
from minibuild.session.request import Output

_CHUNK_BYTES = 1 << 20


@contextmanager
def trees_of(target: OutputContext, split: bool | None) -> Iterator[list[OutputTree]]:
    """The tree of each platform; its folder is "" for a single one."""
    several = target.solved.several if split is None else split
    snapshots = target.build.worker.snapshots
    with ExitStack() as stack:
        trees = []
        for built, result in zip(target.solved.images, target.solved.results, strict=True):
            snapshot = target.build.materialiser.snapshot(result, target.progress.remark)
            if snapshot is None:
                snapshot = snapshots.prepare(None)
                stack.callback(snapshots.remove, snapshot)
            fd = stack.enter_context(snapshots.tree(snapshot))
            folder = str(built.platform).replace("/", "_") if several else ""
            trees.append(OutputTree(folder, fd, {}, snapshots.owners(snapshot)))
        yield trees


def export_directory(target: OutputContext, output: Output) -> Exported:
    options = tree_options(output, target.epoch)
    dest = os.fspath(output.dest) or "."
    with trees_of(target, options.platform_split) as trees:
        _refuse_overlap(target, trees)
        for tree in _with_attestations(target, options, trees):
            epoch, delete, cancelled = options.epoch, options.delete, target.build.cancelled
            for left_out in export_local(
                tree, dest, epoch=epoch, delete=delete, cancelled=cancelled
            ):
                target.progress.remark(left_out)
    return Exported()


def _refuse_overlap(target: OutputContext, trees: Sequence[OutputTree]) -> None:
    """Raise `UsageError` if one folder would have to hold files of one name for two platforms."""
    if len(trees) < 2 or trees[0].folder:
        return
    owners: dict[str, str] = {}
    for built, tree in zip(target.solved.images, trees, strict=True):
        platform = str(built.platform)
        for path in (found.path for found in walk(tree.fd, sockets=True) if not found.is_dir):
            if path in owners:
                raise UsageError(
                    f"cannot overwrite {path} from {owners[path]} with that from {platform}",
                    hint="leave out platform-split=false: each platform gets a folder of its own",
                )
            owners[path] = platform


def export_tarball(target: OutputContext, output: Output) -> Exported:
    options = tree_options(output, target.epoch)
    with trees_of(target, options.platform_split) as trees:
        _refuse_overlap(target, trees)
        whole = _with_attestations(target, options, trees)
        dest, cancelled = os.fspath(output.dest) or "-", target.build.cancelled
        export_tar(whole, dest, epoch=options.epoch, cancelled=cancelled)
    return Exported()


def _with_attestations(
    target: OutputContext, options: TreeOptions, trees: Sequence[OutputTree]
) -> Iterator[OutputTree]:
    """The trees with what was asked to be said of each."""
    attestor = target.solved.attestor
    solved = target.solved
    for number, (built, (folder, fd, _, owners)) in enumerate(
        zip(solved.images, trees, strict=True)
    ):
        files: Mapping[str, bytes] = {}
        if attestor is not None and attestor.writes_files(built):
            layers = known_layers(target.build.worker, solved.results[number])
            view = ImageView(number, fd, layers, options.epoch, target.progress.remark)
            files = attestor.files(built, _subjects(fd, target.build.cancelled), view)
        # In one folder together, those of several platforms bear the platform in their names.
        together = target.solved.several and not folder
        platform = str(built.platform).replace("/", "_") if together else ""
        prefix = options.attestation_prefix
        files = {prefix + _named(name, platform): data for name, data in files.items()}
        yield OutputTree(folder, fd, files, owners)


def _named(name: str, platform: str) -> str:
    stem, extension = os.path.splitext(name)
    return f"{stem}.{platform}{extension}" if platform else name


def _subjects(tree_fd: int, cancelled: threading.Event) -> list[Subject]:
    """Every regular file of a tree, with the digest of what is in it."""
    found = []
    for one in walk(tree_fd):
        if not stat.S_ISREG(one.stat.st_mode):
            continue
        sha = hashlib.sha256()
        with open(one.place, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                raise_if_cancelled(cancelled, "hashing files")
                sha.update(chunk)
        # JSON is UTF-8, and names of files need not be.
        found.append(Subject(os.fsencode(one.path).decode("utf-8", "replace"), sha.hexdigest()))
    return found
