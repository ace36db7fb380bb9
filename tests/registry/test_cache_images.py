"""Caches and images: a cache in an image, steps that write to mounts, layers that change."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.registry.machines import Project, Stores, blobs_fetched, built, executed, layers_in
from tests.support.registry import Registry as Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]


def test_in_the_image_itself(
    stores: Stores, project: Project, plain: Server, tmp_path: Path, busybox_store: str
) -> None:
    name = f"{plain.address}/caches/inline:1"
    first = built(
        stores("one"), tmp_path, "--push", "-t", name, "--cache-to=type=inline", project()
    )
    two = stores("two")
    second = built(
        two, tmp_path, "--push", "-t", name, "--cache-from", name, "--cache-to=type=inline",
        project(),
    )  # fmt: skip
    assert second["containerimage.digest"] == first["containerimage.digest"]
    assert layers_in(two, busybox_store) == 0
    plain_name = f"{plain.address}/caches/inline:plain"
    two("build", "--push", "-t", plain_name, project())
    done = stores("three")("build", "--cache-from", plain_name, project())
    assert "is an image without a cache in it" in done.stderr


MOUNTS = """
import sys
from minibuild import build
from minibuild.graph.state import Mount, image, scratch

root, name, *places = sys.argv[1:]
tree = scratch()
for command in ("echo known > /out/a", "cat /proc/sys/kernel/random/uuid > /out/b"):
    ran = image("busybox").run(command, mounts=[Mount("/out", tree, readonly=False)])
    tree = ran.get_mount("/out")
places_to = {"tags": [name], "outputs": ["type=registry"], "cache_to": ["type=inline"]}
made = build(tree, root=root, cache_from=places, **places_to)
print(made.digest, made.executed)
"""


def test_of_graphs_whose_steps_write_to_mounts(stores: Stores, plain: Server) -> None:
    """Of a step only the mount is in the image, not its own tree; what is known of that stays."""
    name = f"{plain.address}/caches/mounts:1"
    said = []
    for store, *places in (("one",), ("two", f"type=registry,ref={name}")):
        command = [sys.executable, "-c", MOUNTS, stores(store).root, name, *places]
        done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    (first, ran), (second, again) = said
    assert (first, ran, again) == (second, "2", "0")


@pytest.mark.parametrize(
    ("attributes", "fetched"),
    [
        ("compression=gzip", 0),
        ("compression=zstd", 5),
        ("compression=gzip,force-compression=true", 0),
        ("rewrite-timestamp=true,source-date-epoch=1700000000", 5),
    ],
)
def test_a_push_reads_the_layers_that_it_changes(
    stores: Stores, project: Project, plain: Server, attributes: str, fetched: int
) -> None:
    """Those that stay as they are stay where they are; of six, the one of the base is here."""
    cache = f"{plain.address}/caches/changes:cache"
    context = project()
    stores("one")("build", "-q", f"--cache-to={cache},mode=max", context)
    name = f"{plain.address}/caches/changes:1"
    two, before = stores("two"), len(plain.requests())
    output = f"--output=type=registry,name={name},{attributes}"
    two("build", "-q", f"--cache-from={cache}", output, context)
    assert len(blobs_fetched(plain.requests()[before:])) == 1 + fetched
    three = stores("three")
    three("image", "pull", "-q", name)
    three("image", "validate", name)


def test_a_squash_of_what_came_from_elsewhere(
    stores: Stores, project: Project, plain: Server
) -> None:
    cache = f"{plain.address}/caches/squash:cache"
    stores("one")("build", "-q", f"--cache-to={cache},mode=max", project())
    name, two = f"{plain.address}/caches/squash:1", stores("two")
    two("build", "-q", "--squash", "--push", "-t", name, f"--cache-from={cache}", project())
    two("image", "pull", "-q", name)
    two("image", "validate", name)


def test_what_an_image_says_of_its_layers_is_reproducible(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    """Neither times nor what else a machine has built count."""
    text = (
        "FROM busybox AS build\nCOPY src /src\nRUN mkdir /out && cp /src /out/prog\n"
        "FROM busybox\nCOPY --from=build /out/prog /bin/prog\nRUN echo > /built\n"
    )
    output = f"--output=type=oci,rewrite-timestamp=true,dest={tmp_path}/app.tar"
    arguments = ("-q", "--cache-to=type=inline", output)
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    one, two = stores("one"), stores("two")
    first = one("build", *arguments, project(Dockerfile=text), env=env)
    # The same files by another way: a key more that leads to the steps behind it.
    two("build", "-q", project(Dockerfile=text.replace("/out &&", "/out && true &&")))
    second = two("build", *arguments, project(Dockerfile=text), env=env)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("sha256:")


def test_layers_that_change_take_the_cache_out(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    one = stores("one")
    one("build", "-t", "app", "--cache-to=type=inline", project())
    assert "minibuild.cache" in one("image", "inspect", "--format=json", "app").stdout
    one("image", "config", "app", "app:env", "-e", "A=1")
    assert "minibuild.cache" in one("image", "inspect", "--format=json", "app:env").stdout
    one("image", "flatten", "app", "app:flat")
    assert "minibuild.cache" not in one("image", "inspect", "--format=json", "app:flat").stdout
    done = one("build", "--squash", "-t", "app:squashed", "--cache-to=type=inline", project())
    assert "cannot say which step made which" in done.stderr
    # Nor does an image get what its base says.
    one("build", "-t", "above", project(Dockerfile="FROM app\nRUN true\n"))
    assert "minibuild.cache" not in one("image", "inspect", "--format=json", "above").stdout


def test_the_same_layer_compressed_otherwise(
    stores: Stores, project: Project, plain: Server, tmp_path: Path
) -> None:
    """A diff id does not say which blob it is: both kinds side by side in one store."""
    cache = f"{plain.address}/caches/zstd:cache"
    to = f"--cache-to={cache},mode=max,compression=zstd,force-compression=true"
    one, two, out = stores("one"), stores("two"), tmp_path / "out"
    one("build", to, "-o", str(tmp_path / "first"), project())
    two("build", "--cache-from", cache, "-t", "app", project())
    done = two("build", "--progress=plain", "-o", str(out), "--cache-from", cache, project())
    assert executed(done.stderr) == []
    assert (out / "built").read_bytes() == (tmp_path / "first/built").read_bytes()
    two("image", "validate", "app")
