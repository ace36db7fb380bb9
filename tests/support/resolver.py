"""Resolvers of images for tests of frontends: one with made-up images, one that reads a layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minibuild.digest import Digest, digest_bytes
from minibuild.errors import RegistryError
from minibuild.graph.frontend import ResolvedImage
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform, matches
from minibuild.oci.model import parse_config

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FakeResolver:
    """Knows the images it is given, by short name; remembers what it was asked for."""

    def __init__(self, images: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.images = {"busybox": {}, **(images or {})}
        self.asked: list[tuple[str, Platform]] = []

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        self.asked.append((ref, platform))
        name = ref.rpartition("/")[2].partition(":")[0]
        if name not in self.images:
            raise RegistryError(f"{ref}: not found")
        data = {
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {"Env": [f"PATH={DEFAULT_PATH}"], "Cmd": ["sh"]},
            "history": [{"created_by": f"made {name}"}],
            **self.images[name],
        }
        source = ImageSource(
            f"docker.io/library/{name}:latest",
            digest_bytes(f"{name} {platform}".encode()),
            platform,
        )
        return ResolvedImage(source, parse_config(json.dumps(data).encode()).image)


class LayoutResolver:
    """Finds images in an OCI layout by their ref names. Nothing is verified."""

    def __init__(self, layout: Path) -> None:
        self._layout = layout
        self.layers: dict[Digest, int] = {}
        index = json.loads((layout / "index.json").read_text())
        self._manifests = {
            entry["annotations"]["org.opencontainers.image.ref.name"]: entry
            for entry in index["manifests"]
        }

    def _blob(self, digest: str) -> Any:
        return json.loads((self._layout / "blobs" / "sha256" / digest[7:]).read_text())

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        name = ref.removeprefix("image:").removeprefix("docker.io/library/")
        entry = self._manifests.get(name if ":" in name else f"{name}:latest")
        if entry is None:
            raise RegistryError(f"failed to resolve source metadata for {ref}: not found")
        manifest = self._blob(entry["digest"])
        if "manifests" in manifest:
            fits = [m for m in manifest["manifests"] if _fits(platform, m["platform"])]
            if not fits:
                raise RegistryError(f"{ref}: no image for {platform}")
            entry, manifest = fits[0], self._blob(fits[0]["digest"])
        config = parse_config(json.dumps(self._blob(manifest["config"]["digest"])).encode()).image
        digest = Digest(entry["digest"])
        self.layers[digest] = len(manifest["layers"])
        return ResolvedImage(ImageSource(name, digest, platform), config)


def _fits(wanted: Platform, offered: Mapping[str, str]) -> bool:
    return matches(
        wanted, Platform(offered["os"], offered["architecture"], offered.get("variant", ""))
    )
