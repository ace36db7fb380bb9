"""A copy that no step reads is packed from its sources; it is the layer that its tree would be."""

import gzip
import io
import json
import os
import socket
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.images import blob

# Plain sources, sources in another order than that of a walk, files over files, directories of
# the base, hardlinks, symlinks, modes, owners, links.
COPIES = {
    "all": "COPY . /src/",
    "into a directory of the base": "COPY sub /usr/",
    "over a file of the base": "COPY sub/a /etc/passwd",
    "two directories of the base": "COPY two /",
    "a file into a new one": "COPY sub/a /x/y/",
    "several in order": "COPY sub/a sub/b /x/",
    "several out of order": "COPY sub/b sub/a /x/",
    "twice the same": "COPY sub/a sub/a /x/",
    "mode": "COPY --chmod=640 sub /x/",
    "owner": "COPY --chown=nobody:1 sub /x/",
    "link": "COPY --link sub /etc/",
    "nothing": "COPY --exclude=** sub /x",
    "a socket": "COPY sub/sock /x",
    "parents": "COPY --parents sub/deep/er/c sub/a /etc/",
}


def _context(project: Callable[[Mapping[str, str]], str], line: str) -> str:
    files = {"sub/a": "a", "sub/b": "b" * 5000, "sub/deep/er/c": "", "sub/tool": "#!"}
    files |= {"two/etc/new": "n", "two/usr/bin/new": "n"}
    context = project({**files, "Dockerfile": f"FROM busybox\n{line}\n"})
    os.chmod(f"{context}/sub/tool", 0o4755)
    os.link(f"{context}/sub/b", f"{context}/sub/same")
    os.symlink("../a", f"{context}/sub/deep/up")
    here = os.open(f"{context}/sub", os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/sock")  # A path may have 107 characters.
    os.close(here)
    for folder, _, names in os.walk(context, topdown=False):
        for name in names:
            os.utime(os.path.join(folder, name), (5, 5), follow_symlinks=False)
        os.utime(folder, (6, 6))
    return context


def _layers(layout: str) -> list[list[tuple[object, ...]]]:
    """The entries of the layers; a time that is that of the build is left out."""
    with open(f"{layout}/index.json", encoding="utf-8") as file:
        top = json.load(file)["manifests"][0]["digest"]
    manifest = json.loads(blob(layout, top))
    return [
        _entries(gzip.decompress(blob(layout, layer["digest"]))) for layer in manifest["layers"]
    ]


def _entries(tar: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return [
            (
                entry.name,
                entry.type,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.mtime if entry.mtime < 1e9 else "now",
                entry.linkname,
                (archive.extractfile(entry) or io.BytesIO()).read() if entry.isreg() else b"",
            )
            for entry in archive
        ]


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
@pytest.mark.parametrize("line", COPIES.values(), ids=list(COPIES))
def test_packed_as_its_tree_would_be(
    line: str,
    cli: Cli,
    builds: Builds,
    project: Callable[[Mapping[str, str]], str],
    tmp_path: Path,
) -> None:
    """Packed from the context, from the tree that another output made, and together with the tree
    for a step that reads it."""
    context = _context(project, line)
    direct, treed, both = (str(tmp_path / name) for name in ("direct", "treed", "both"))
    cli("build", "-o", f"type=oci,tar=false,dest={direct}", context)
    cli("build", "--no-cache", "-o", str(tmp_path / "tree"), context)
    cli("build", "-o", f"type=oci,tar=false,dest={treed}", context)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM busybox\n{line}\nRUN true\n")
    output = f"type=oci,tar=false,dest={both}"
    cli("build", "--no-cache", "-f", str(dockerfile), "-o", output, context)
    layers = _layers(direct)
    assert layers == _layers(treed)
    assert layers == _layers(both)[: len(layers)]


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_a_later_step_reads_it(
    cli: Cli, builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    """What was packed is unpacked for a step that comes later, and not copied again."""
    context = project({"Dockerfile": "FROM busybox\nCOPY a /b/\n", "a": "text\n"})
    cli("build", context)
    with open(f"{context}/Dockerfile", "a", encoding="utf-8") as file:
        file.write("RUN grep text /b/a > /found\n")
    image = builds.image(context)
    assert image.files["found"].data == b"text\n"
