"""What is fuzzed: everything that reads documents of others.

Comes in: a number, from which all chance follows. Goes out: nothing, or an exception that should
not be there: a wrong document may end in a `BuildError`, and in nothing else. What was taken must
be good for all that is done with it later: it is converted, merged, written and read again.
Read next: `mutate`, `__main__`.
"""

import gzip
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from minibuild_dockerfile.convert import convert

from minibuild.attest.statement import attestations_of
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import BuildError, RegistryError, SourceText
from minibuild.graph.frontend import FrontendRequest, LocalContext, ResolvedImage
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform
from minibuild.image.archive import open_layout
from minibuild.image.layout import Layout, check_version
from minibuild.image.validate import validate
from minibuild.imagetools.compare import config_changes
from minibuild.imagetools.edit import each_image, read_image, write_image
from minibuild.imagetools.index import IndexBuilder
from minibuild.imagetools.rebase import merge_config
from minibuild.imagetools.reconfigure import Changes, reconfigured
from minibuild.layer.tar_format import END, TarEntry, header, padding
from minibuild.oci.config import config_bytes
from minibuild.oci.content import BlobSource
from minibuild.oci.document import parse_document
from minibuild.oci.model import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    ConfigDocument,
    Descriptor,
    describe,
    parse_config,
    parse_index,
)
from minibuild.oci.multi import MultiSource
from minibuild.registry.auth import token_in
from minibuild.registry.credentials import Credentials
from minibuild.remotecache.document import document_bytes, parse_cache
from minibuild.remotecache.mounts.artifact import ARTIFACT_TYPE, ID, parse_artifact
from tests.fuzz.mutate import DIGEST, mutated

_AMD64 = Platform("linux", "amd64")
_DOCKERFILE = (
    "FROM h\nENV A=b $PATH=c\nLABEL x=y\nCOPY a ./x\nUSER 1\nWORKDIR w\nRUN true\nEXPOSE 1\n"
    'VOLUME /v\nHEALTHCHECK CMD x\nSHELL ["/a"]\nCMD c\n'
)
_MESSAGE_LIMIT = 20_000

_TAR = bytes(1024)
_LAYER = gzip.compress(_TAR)
_CONFIG = {
    "architecture": "amd64", "os": "linux", "variant": "v2", "os.version": "1",
    "created": "2020-01-01T00:00:00Z", "author": "ada", "more": {"a": 1}, "os.features": ["x"],
    "config": {
        "User": "1:2", "Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/a"], "Cmd": ["b"],
        "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}},
        "WorkingDir": "/w", "StopSignal": "SIGTERM", "Shell": ["/bin/sh", "-c"],
        "OnBuild": ["RUN x", "COPY . /y"], "ArgsEscaped": True,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1, "Retries": 3},
    },
    "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "x"}, {"empty_layer": True}],
    "rootfs": {"type": "layers", "diff_ids": [digest_bytes(_TAR)]},
}  # fmt: skip


class Blobs(BlobSource):
    """A source of blobs in memory."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Keep some bytes; returns their descriptor."""
        digest = digest_bytes(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        if descriptor.digest not in self.blobs:
            raise RegistryError(f"there is no {descriptor.digest}")
        return io.BytesIO(self.blobs[descriptor.digest][offset:])


class _Resolver(NamedTuple):
    image: ImageConfig

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        return ResolvedImage(ImageSource("h", Digest(DIGEST), platform), self.image)


def run(seed: int) -> None:
    """One input. Raises what should not be raised."""
    chance = random.Random(seed)
    read = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
    try:
        read(chance)
    except BuildError as error:
        text = str(error)
        assert text, "an error without a message"
        assert len(text) < _MESSAGE_LIMIT, f"a message of {len(text)} characters"


@contextmanager
def _our_own() -> Iterator[None]:
    """What was taken once is taken again: a refusal is a finding."""
    try:
        yield
    except BuildError as error:
        raise AssertionError(f"not taken again: {error}") from error


def _config(chance: random.Random) -> None:
    """A config, read, and all that a build and the image commands do with it."""
    found = parse_config(mutated(_CONFIG, chance))
    _use(found)
    if chance.random() < 0.2:
        _build_on(found.image)


def _use(found: ConfigDocument) -> None:
    written = config_bytes(found.image, list(found.diff_ids))
    with _our_own():
        again = parse_config(written)
    assert config_bytes(again.image, list(again.diff_ids)) == written
    value = json.loads(json.dumps(_CONFIG))
    config_changes(value, found.value)
    changed = reconfigured(found.value, Changes({"A": "c"}, ("B",), {"l": "m"}, ("n",), "u"))
    with _our_own():
        parse_config(json.dumps(changed).encode())
    inner, ours = found.value.get("config") or {}, value["config"]
    for sides in ((inner, ours, inner), (ours, inner, ours), (ours, ours, inner)):
        merge_config(*sides)


def _build_on(image: ImageConfig) -> None:
    request = FrontendRequest(
        SourceText("Dockerfile", _DOCKERFILE), (_AMD64,), _AMD64, context=LocalContext("c")
    )
    try:
        made = convert(request, _Resolver(image))
    except BuildError:
        return
    with _our_own():
        for built in made.images:
            parse_config(config_bytes(built.config, [DIGEST]))


def _image(chance: random.Random) -> None:
    """An index of an image and an attestation; one of its documents is wrong, or several."""
    blobs = Blobs()

    def document(value: Any, media_type: str) -> dict[str, Any]:
        data = mutated(value, chance) if chance.random() < 0.4 else json.dumps(value).encode()
        return blobs.put(data, media_type)

    layer = blobs.put(_LAYER, OCI_LAYER_GZIP)
    said = blobs.put(b"{}", "application/vnd.in-toto+json")
    said["annotations"] = {"in-toto.io/predicate-type": "x"}
    platform = {"os": "linux", "architecture": "amd64"}
    entries = []
    for layers, where in ((layer, platform), (said, {"os": "unknown", "architecture": "unknown"})):
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": document(_CONFIG, OCI_CONFIG),
            "layers": [layers],
            "annotations": {"a": "b"},
        }
        entry = document(manifest, OCI_MANIFEST) | {"platform": where}
        entries.append(entry | {"annotations": {"org.opencontainers.image.ref.name": "latest"}})
    about = {"vnd.docker.reference.type": "attestation-manifest"}
    entries[1]["annotations"] = about | {"vnd.docker.reference.digest": entries[0]["digest"]}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    data = mutated(index, chance) if chance.random() < 0.5 else json.dumps(index).encode()
    blobs.put(data, OCI_INDEX)
    for use in _USES:
        try:
            use(blobs, data)
        except BuildError:
            pass


class _Looked(Layout):
    """A layout whose index is the document."""

    path = "it"

    def __init__(self, blobs: Blobs, data: bytes) -> None:
        self._blobs, self.index = blobs, parse_index(data)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        return self._blobs.open(descriptor, offset)


def _look(blobs: Blobs, data: bytes) -> None:
    _Looked(blobs, data).find("latest")


def _check(blobs: Blobs, data: bytes) -> None:
    top = describe(OCI_INDEX, data)
    for problem in validate(blobs, top):
        assert problem
    attestations_of(blobs, top)


def _edit(blobs: Blobs, data: bytes) -> None:
    made = MultiSource()
    each_image(made, blobs, describe(OCI_INDEX, data), lambda i: write_image(made, i, i.layers, ()))


def _gather(blobs: Blobs, data: bytes) -> None:
    made = IndexBuilder()
    made.add(blobs, describe(OCI_INDEX, data))
    made.finish({})


def _take(blobs: Blobs, data: bytes) -> None:
    for descriptor in parse_index(data).manifests:
        image = read_image(blobs, descriptor)
        with _our_own():
            found = parse_config(json.dumps(image.config).encode())
        _use(found)


_USES: tuple[Callable[[Blobs, bytes], None], ...] = (_look, _check, _edit, _gather, _take)


def _archive(chance: random.Random) -> None:
    """What `docker save` writes."""
    item = {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar", "l/layer.tar"]}
    files = {
        "manifest.json": mutated([item], chance),
        "c.json": json.dumps(_CONFIG).encode(),
        "l/layer.tar": _LAYER,
    }
    tar = io.BytesIO()
    for name, data in files.items():
        tar.write(header(TarEntry(name, "file", 0o644, size=len(data))) + data)
        tar.write(bytes(padding(len(data))))
    tar.write(END)
    with _file(tar.getvalue()) as path:
        open_layout(path).find("")


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """The path of a file that is nowhere on disk."""
    with open(os.memfd_create("fuzz"), "wb", buffering=0) as file:
        file.write(data)
        yield f"/proc/self/fd/{file.fileno()}"


def _version(chance: random.Random) -> None:
    check_version(mutated({"imageLayoutVersion": "1.0.0"}, chance), "it")


def _cache(chance: random.Random) -> None:
    blob = Descriptor(OCI_LAYER_GZIP, Digest(DIGEST), 5)
    layer = {"blob": DIGEST, "parent": -1, "annotations": {"diffID": DIGEST}, "created": 1.5}
    step = {"digest": DIGEST, "keys": [DIGEST], "chains": [{"layers": [0, 1]}], "name": "x"}
    value = {"layers": [layer, {**layer, "base": [0]}], "records": [step, step], "minibuild": 1}
    document = parse_document(mutated(value, chance), "it")
    found = parse_cache(document, {blob.digest: blob}, Blobs(), "it")
    written = document_bytes(found)
    with _our_own():
        again = parse_cache(parse_document(written, "it"), {blob.digest: blob}, Blobs(), "it")
    assert document_bytes(again) == written


def _artifact(chance: random.Random) -> None:
    layer = {"mediaType": "x", "digest": DIGEST, "size": 5, "annotations": {ID: "a"}}
    value = {"schemaVersion": 2, "artifactType": ARTIFACT_TYPE, "config": layer, "layers": [layer]}
    parse_artifact(mutated(value, chance), "it")


def _login(chance: random.Random) -> None:
    entry = {"auth": "YTpi", "identitytoken": "", "username": "a", "password": "b"}
    value = {"auths": {"h": entry, "https://h/v2/": entry, "h/a": entry}, "credHelpers": {}}
    with _file(mutated(value, chance)) as path:
        Credentials((path,)).login("h", "a/b")


def _token(chance: random.Random) -> None:
    token_in(mutated({"token": "a", "access_token": "b", "expires_in": 5}, chance), "h")


_KINDS = {_config: 30, _image: 3, _archive: 3, _version: 2, _cache: 15, _artifact: 20, _login: 20,
          _token: 7}  # fmt: skip
