"""Results of steps that travel: whole builds on machines that never built, by way of a registry or
a folder."""

import json
import os
from pathlib import Path

import pytest

from tests.registry.machines import (
    DOCKERFILE,
    NOW,
    Project,
    Stores,
    blobs_fetched,
    built,
    executed,
    layers_in,
)
from tests.support.registry import Registry as Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_another_machine_runs_nothing_and_fetches_no_layer(
    stores: Stores, project: Project, plain: Server, tmp_path: Path, busybox_store: str, mode: str
) -> None:
    name, cache = f"{plain.address}/caches/{mode}:1", f"{plain.address}/caches/{mode}:cache"
    to = f"--cache-to=type=registry,ref={cache},mode={mode}"
    first = built(stores("one"), tmp_path, "--push", "-t", name, to, project())
    two, before = stores("two"), len(plain.requests())
    metadata = str(tmp_path / "metadata.json")
    done = two(
        "build", "--progress=plain", "--metadata-file", metadata, "--push", "-t", name,
        "--cache-from", cache, project(),
    )  # fmt: skip
    assert executed(done.stderr) == []
    with open(metadata) as file:
        assert json.load(file)["containerimage.digest"] == first["containerimage.digest"]
    assert len(blobs_fetched(plain.requests()[before:])) == 1  # the config of the cache
    assert layers_in(two, busybox_store) == 0


@pytest.mark.parametrize(
    ("mode", "form", "again"),
    [
        ("min", "image-manifest=false", ["COPY src /src", "RUN mkdir"]),
        ("max", "oci-mediatypes=false", []),
    ],
)
def test_max_has_the_steps_that_are_in_no_image(
    stores: Stores, project: Project, plain: Server, mode: str, form: str, again: list[str]
) -> None:
    """A new step reads the first stage again: with `min` it has to be run for that."""
    cache = f"{plain.address}/caches/stages-{mode}:cache"
    stores("one")("build", f"--cache-to=type=registry,ref={cache},mode={mode},{form}", project())
    changed = DOCKERFILE + "COPY --from=build /src /again\n"
    two = stores("two")
    done = two("build", "--progress=plain", "--cache-from", cache, project(Dockerfile=changed))
    ran = executed(done.stderr)
    assert [step[:9] for step in ran] == sorted(s[:9] for s in ("COPY --from=", *again))


def test_a_link_that_changed_is_all_that_is_made(
    stores: Stores, project: Project, plain: Server, tmp_path: Path, busybox_store: str
) -> None:
    """It lies between others, which stay where they are."""
    name, cache = f"{plain.address}/caches/change:1", f"{plain.address}/caches/change:cache"
    steps = [line for line in DOCKERFILE.splitlines() if "/built" not in line]
    links = "\n".join(line.replace("COPY last", "COPY --link last") for line in steps)
    links = links.replace("COPY --from", "COPY --link --from") + "\n"
    to = f"--cache-to={cache},mode=max"
    built(stores("one"), tmp_path, "--push", "-t", name, to, project(Dockerfile=links))
    two = stores("two")
    context = project(Dockerfile=links, link="another")
    done = two("build", "--progress=plain", "--push", "-t", name, "--cache-from", cache, context)
    assert executed(done.stderr) == ["COPY --link link /link"]
    assert layers_in(two, busybox_store) == 1


def test_many_layers_are_no_tower_of_work(stores: Stores, project: Project, tmp_path: Path) -> None:
    """Each stands on all below it; whoever asks of one need not ask of all again."""
    lines = "".join(
        f"RUN echo {number} > /f\nCOPY --link link /l{number}\n" for number in range(20)
    )
    context = project(Dockerfile=f"FROM busybox\n{lines}")
    to, fro = (f"type=local,{key}={tmp_path}/cache" for key in ("dest", "src"))
    stores("one")("build", "-q", f"--cache-to={to},mode=max", context)
    two = stores("two")
    two("build", "-q", f"--cache-from={fro}", "-t", "app", context)
    done = two("build", "--progress=plain", context)
    assert executed(done.stderr) == []


def test_what_came_stays(stores: Stores, project: Project, plain: Server) -> None:
    """An image in the store has its layers there; then nobody has to be asked again."""
    cache = f"{plain.address}/caches/stays:cache"
    stores("one")("build", f"--cache-to={cache},mode=max", project())
    two = stores("two")
    two("build", "--cache-from", cache, "-t", "app", project())
    before = len(plain.requests())
    done = two("build", "--progress=plain", "--target=build", project())
    assert "RUN mkdir" in "".join(executed(done.stderr))  # nothing needed that stage's layers
    done = two("build", "--progress=plain", "--cache-from", cache, project())
    assert executed(done.stderr) == []
    assert "from" not in done.stderr.partition("importing")[2].partition("\n")[0]
    assert len(plain.requests()) == before


def test_a_cache_goes_on_to_others(
    stores: Stores, project: Project, plain: Server, tmp_path: Path
) -> None:
    """A machine that ran nothing and has nothing passes on all that it was told."""
    one, two, three = (f"{plain.address}/caches/on:{number}" for number in (1, 2, 3))
    name = f"{plain.address}/caches/on:image"
    first = built(
        stores("one"), tmp_path, "--push", "-t", name, f"--cache-to={one},mode=max", project()
    )
    for number, (source, dest) in enumerate(((one, two), (two, three))):
        to, fro = f"--cache-to={dest},mode=max", f"--cache-from={source}"
        built(stores(f"on{number}"), tmp_path, "--push", "-t", name, to, fro, project())
    changed = DOCKERFILE + "COPY --from=build /src /again\n"
    last = stores("last")
    done = last("build", "--progress=plain", "--cache-from", three, project(Dockerfile=changed))
    assert executed(done.stderr) == ["COPY --from=build /src /again"]
    again = built(
        stores("again"), tmp_path, "--push", "-t", name, f"--cache-from={three}", project()
    )
    assert again["containerimage.digest"] == first["containerimage.digest"]


def test_a_folder(stores: Stores, project: Project, tmp_path: Path, busybox_store: str) -> None:
    folder, out = tmp_path / "cache", tmp_path / "out"
    to = f"--cache-to=type=local,dest={folder},mode=max,image-manifest=false"
    stores("one")("build", to, "-o", str(out), project())
    two = stores("two")
    again = tmp_path / "again"
    done = two(
        "build", "--progress=plain", f"--cache-from=type=local,src={folder}", "-o", str(again),
        project(),
    )  # fmt: skip
    assert executed(done.stderr) == []
    for name in ("built", "first", "bin/prog", "link"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    assert not (again / "last").exists()
    # Another cache in its place: what only the old one needed goes.
    count = len(os.listdir(folder / "blobs/sha256"))
    stores("three")("build", to, project(Dockerfile="FROM busybox\nRUN true\n"))
    assert len(os.listdir(folder / "blobs/sha256")) < count
    other = f"--cache-to=type=local,dest={folder},tag=other"
    stores("four")("build", other, project())
    found = json.loads((folder / "index.json").read_text())["manifests"]
    assert len(found) == 2


@pytest.mark.parametrize("compat", ["buildkit", "minibuild"])
def test_under_keys_of_one_kind(
    stores: Stores, project: Project, plain: Server, tmp_path: Path, compat: str
) -> None:
    name, cache = f"{plain.address}/caches/{compat}:1", f"{plain.address}/caches/{compat}:cache"
    to = f"--cache-to=type=registry,ref={cache},mode=max,compat={compat}"
    first = built(stores("one"), tmp_path, "--push", "-t", name, to, project())
    two, metadata = stores("two"), str(tmp_path / "metadata.json")
    done = two(
        "build", "--progress=plain", "--metadata-file", metadata, "--push", "-t", name,
        "--cache-from", cache, project(),
    )  # fmt: skip
    assert executed(done.stderr) == []
    again = json.loads(Path(metadata).read_text())
    assert again["containerimage.digest"] == first["containerimage.digest"]
    # What came is known here from now on, under the keys of this store.
    two("build", "-o", str(tmp_path / "out"), "--cache-from", cache, project())
    done = two("build", "--progress=plain", project())
    assert not [step for step in executed(done.stderr) if "/built" in step or "/first" in step]


@pytest.mark.parametrize("compat", ["buildkit", "minibuild"])
def test_a_step_that_makes_the_same_again(
    stores: Stores, project: Project, tmp_path: Path, compat: str
) -> None:
    """What copies from it is found by what it copies."""
    dockerfile = f"""\
FROM busybox AS build
COPY src /src
RUN cut -c 1 /src > /first
FROM busybox
COPY --from=build /first /first
RUN {NOW} > /built
"""
    cache = f"type=local,%s={tmp_path}/cache"
    to = f"--cache-to={cache % 'dest'},mode=max,compat={compat}"
    stores("one")("build", to, project(Dockerfile=dockerfile))
    done = stores("two")(
        "build", "--progress=plain", f"--cache-from={cache % 'src'}",
        project(Dockerfile=dockerfile, src="same first letter"),
    )  # fmt: skip
    assert [step[:8] for step in executed(done.stderr)] == ["COPY src", "RUN cut "]


def test_another_owner_is_another_file(stores: Stores, project: Project, tmp_path: Path) -> None:
    """Also under BuildKit's keys, and where files cannot be given to others on disk."""
    dockerfile = f"""\
FROM scratch AS build
COPY --chown=7:8 src /src
FROM busybox
COPY --from=build /src /src
RUN {NOW} > /built
"""
    cache = f"type=local,%s={tmp_path}/cache"
    to = f"--cache-to={cache % 'dest'},mode=max,compat=buildkit"
    stores("one")("build", to, project(Dockerfile=dockerfile))
    done = stores("two")(
        "build", "--progress=plain", f"--cache-from={cache % 'src'}",
        project(Dockerfile=dockerfile.replace("7:8", "7:9")),
    )  # fmt: skip
    assert [step[:8] for step in executed(done.stderr)] == ["COPY --c", "COPY --f", "RUN cat "]
