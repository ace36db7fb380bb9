"""Reading an image the way somebody else's tool would: from the OCI layout alone.

Comes in: a folder that `-o type=oci,tar=false` wrote, or a store. Goes out: the documents, the
entries of each layer, and the files that the layers add up to. Uses nothing of minibuild, so that
it can disagree with it. Rules: OCI image-spec, image-layout.md and layer.md.
"""

import gzip
import hashlib
import io
import json
import os
import posixpath
import tarfile
from typing import Any, NamedTuple


class File(NamedTuple):
    """One path of the flattened image. `data` is the contents, or the target of a symlink."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    data: bytes = b""


class Image(NamedTuple):
    """An image, read whole. `layers` are the names in each layer, lowest first."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[list[str]]
    files: dict[str, File]

    @property
    def created_by(self) -> list[str]:
        """The instructions of the history."""
        return [entry.get("created_by", "") for entry in self.config.get("history", [])]

    def text(self, path: str) -> str:
        """The contents of a file."""
        return self.files[path].data.decode()


def blob(layout: str, digest: str) -> bytes:
    """A blob, checked against its digest."""
    algorithm, _, name = digest.partition(":")
    with open(os.path.join(layout, "blobs", algorithm, name), "rb") as file:
        data = file.read()
    assert hashlib.new(algorithm, data).hexdigest() == name, f"blob {digest} is corrupt"
    return data


def read_image(layout: str, tag: str = "") -> Image:
    """The image `tag` of a layout; the only one if no tag is given."""
    with open(os.path.join(layout, "oci-layout")) as file:
        assert json.load(file)["imageLayoutVersion"] == "1.0.0"
    with open(os.path.join(layout, "index.json")) as file:
        found = json.load(file)["manifests"]
    names = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
    chosen = [m for m in found if not tag or tag in map(m.get("annotations", {}).get, names)]
    assert len(chosen) == 1, f"{len(chosen)} images fit {tag!r} in {found}"
    manifest = json.loads(blob(layout, chosen[0]["digest"]))
    config = json.loads(blob(layout, manifest["config"]["digest"]))
    layers, files = [], dict[str, File]()
    assert len(manifest["layers"]) == len(config["rootfs"]["diff_ids"])
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        data = blob(layout, layer["digest"])
        assert len(data) == layer["size"]
        if layer["mediaType"].endswith("gzip"):
            data = gzip.decompress(data)
        assert "sha256:" + hashlib.sha256(data).hexdigest() == diff_id
        layers.append(apply_layer(data, files))
    return Image(manifest, config, layers, files)


def apply_layer(tar: bytes, files: dict[str, File]) -> list[str]:
    """Change `files` as the layer says; the names of its entries, in order."""
    names = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
        # Whiteouts hide what lower layers have, wherever in the layer they stand.
        for member in members:
            name = member.name.strip("/").removeprefix("./")
            names.append(name)
            folder, base = posixpath.split(name)
            if base == ".wh..wh..opq":
                remove(files, folder, keep_top=True)
            elif base.startswith(".wh."):
                remove(files, posixpath.join(folder, base.removeprefix(".wh.")))
        for member, name in zip(members, names, strict=True):
            if posixpath.basename(name).startswith(".wh.") or name in ("", "."):
                continue
            if member.islnk():
                target = files[member.linkname.strip("/").removeprefix("./")]
                remove(files, name)
                files[name] = target
                continue
            if not member.isdir():
                remove(files, name)
            extracted = archive.extractfile(member) if member.isreg() else None
            data = extracted.read() if extracted else member.linkname.encode()
            files[name] = File(member.type, member.mode, member.uid, member.gid, data)
    return names


def remove(files: dict[str, File], path: str, *, keep_top: bool = False) -> None:
    """Take out a path and everything below it."""
    for name in [n for n in files if n.startswith(path + "/") or (n == path and not keep_top)]:
        del files[name]
