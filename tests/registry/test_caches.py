"""Results of steps that travel: whole builds on machines that never built, by way of a registry, a
folder, or the image itself."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Cli
from tests.registry.conftest import Authority
from tests.support.faulty import Fault, Faulty
from tests.support.registry import PASSWORD, USER
from tests.support.registry import Registry as Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]
Stores = Callable[[str], Cli]
Project = Callable[..., str]

# What a RUN writes says when it ran: a step that was done twice would show.
NOW = "cat /proc/uptime /proc/sys/kernel/random/uuid"
DOCKERFILE = f"""\
FROM busybox AS build
COPY src /src
RUN mkdir /out && {NOW} > /out/prog
FROM busybox
RUN {NOW} > /first
COPY --link link /link
COPY --from=build /out/prog /bin/prog
COPY last /last
RUN {NOW} > /built && rm /last
"""
FILES = {"Dockerfile": DOCKERFILE, "src": "src", "link": "link", "last": "last"}


@pytest.fixture
def stores(tmp_path: Path, busybox_store: str) -> Stores:
    """`stores(name)` is the command line with a copy of that store: another machine."""

    def make(name: str) -> Cli:
        return Cli(shutil.copytree(busybox_store, str(tmp_path / "stores" / name)))

    return make


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """`project(name=text)` is a context of its own, in which these files are other ones."""
    made: list[str] = []

    def write(**changed: str) -> str:
        folder = tmp_path / f"context{len(made)}"
        folder.mkdir()
        for name, text in {**FILES, **changed}.items():
            (folder / name).write_text(text)
        made.append(str(folder))
        return made[-1]

    return write


def built(cli: Cli, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Build quietly; returns the metadata."""
    path = str(tmp_path / "metadata.json")
    cli("build", "-q", "--metadata-file", path, *arguments)
    with open(path) as file:
        found: dict[str, Any] = json.load(file)
    return found


def layers_in(cli: Cli, busybox_store: str) -> int:
    """How many layers a store has, besides those that it began with."""
    folders = (f"{root}/blobs/sha256" for root in (cli.root, busybox_store))
    new, old = ({name for name in os.listdir(folder)} for folder in folders)
    count = 0
    for name in new - old:
        with open(f"{cli.root}/blobs/sha256/{name}", "rb") as file:
            count += file.read(1) != b"{"
    return count


def blobs_fetched(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("GET") and "/blobs/" in line]


def executed(output: str) -> list[str]:
    """The beginnings of the steps that were run."""
    states: dict[str, tuple[str, bool]] = {}
    for line in output.splitlines():
        number, _, rest = line.partition(" ")
        if rest.startswith("[") and "internal" not in rest:
            states[number] = (rest.partition("] ")[2], True)
        elif rest == "CACHED" and number in states:
            states[number] = (states[number][0], False)
    names = [name for name, ran in states.values() if ran]
    return sorted(name for name in names if not name.startswith(("LINK", "FROM")))


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


@pytest.mark.parametrize(("mode", "again"), [("min", ["COPY src /src", "RUN mkdir"]), ("max", [])])
def test_max_has_the_steps_that_are_in_no_image(
    stores: Stores, project: Project, plain: Server, mode: str, again: list[str]
) -> None:
    """A new step reads the first stage anew: with `min` it has to be run for that."""
    cache = f"{plain.address}/caches/stages-{mode}:cache"
    stores("one")("build", f"--cache-to=type=registry,ref={cache},mode={mode}", project())
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
    to = f"--cache-to=type=local,dest={folder},mode=max"
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


@pytest.mark.parametrize("lazily", [True, False])
def test_a_layer_that_is_gone_costs_time_and_no_more(
    stores: Stores, project: Project, tmp_path: Path, lazily: bool
) -> None:
    folder = tmp_path / "cache"
    stores("one")("build", f"--cache-to=type=local,dest={folder},mode=max", project())
    damaged = 0
    for path in (folder / "blobs/sha256").iterdir():
        if path.read_bytes()[:1] != b"{" and path.stat().st_size < 1000:
            damaged += 1
            if lazily:
                path.unlink()
            else:
                path.write_bytes(bytes(path.stat().st_size))
    assert damaged > 3
    context = project(Dockerfile=DOCKERFILE + "RUN cat /built\n")
    done = stores("two")("build", f"--cache-from=type=local,src={folder}", "-t", "app", context)
    assert "cannot be had" in done.stderr
    assert "building without it" in done.stderr


def test_no_cache_yet_is_a_warning(stores: Stores, project: Project, plain: Server) -> None:
    one, name = stores("one"), f"{plain.address}/caches/nothing:here"
    done = one("build", "--cache-from", name, "--cache-from=type=local,src=/nowhere", project())
    assert f"no cache from {name}: " in done.stderr
    assert "no cache from /nowhere: " in done.stderr


def test_of_several_the_first_that_knows_counts(
    stores: Stores, project: Project, plain: Server
) -> None:
    old, new = (f"{plain.address}/caches/several:{tag}" for tag in ("old", "new"))
    stores("one")("build", f"--cache-to={old},mode=max", project(last="old"))
    two = stores("two")
    two("build", f"--cache-from={old}", f"--cache-to={new},mode=max", project(last="new"))
    done = stores("three")(
        "build", "--progress=plain", f"--cache-from={new}", f"--cache-from={old}",
        project(last="old"),
    )  # fmt: skip
    assert executed(done.stderr) == []
    assert f"found in {new}" in done.stderr
    assert f"found in {old}" in done.stderr


def test_an_export_that_fails(stores: Stores, project: Project) -> None:
    with Faulty() as faulty:
        faulty.faults += [Fault("uploads", 403)] * 40
        name = f"{faulty.address}/cache:1"
        one = stores("one")
        done = one("build", f"--cache-to={name},mode=max", project(), code=4)
        assert "denies access" in done.stderr
        done = one("build", f"--cache-to={name},mode=max,ignore-error=true", project())
        assert "denies access" in done.stderr


def test_no_cache_asks_nobody(stores: Stores, project: Project, plain: Server) -> None:
    cache = f"{plain.address}/caches/none:cache"
    stores("one")("build", f"--cache-to={cache},mode=max", project())
    before = len(plain.requests())
    done = stores("two")(
        "build", "--progress=plain", "--no-cache", "--cache-from", cache, project()
    )
    assert len(executed(done.stderr)) == 7
    assert plain.requests()[before:] == []
    done = stores("three")(
        "build", "--progress=plain", "--no-cache-filter=build", "--cache-from", cache, project()
    )
    assert [step[:8] for step in executed(done.stderr)][:2] == ["COPY --f", "COPY las"]


def test_with_tls_and_a_password(
    stores: Stores, project: Project, guarded: Server, authority: Authority, tmp_path: Path
) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text(f'[registries."{guarded.address}"]\nca = "{authority.ca}"\n')
    login = tmp_path / "docker"
    login.mkdir()
    auths = {"auths": {guarded.address: {"username": USER, "password": PASSWORD}}}
    (login / "config.json").write_text(json.dumps(auths))
    env = {"MINIBUILD_CONFIG": str(settings), "DOCKER_CONFIG": str(login)}
    cache = f"{guarded.address}/caches/guarded:cache"
    stores("one")("build", f"--cache-to={cache},mode=max", project(), env=env)
    done = stores("two")("build", "--progress=plain", "--cache-from", cache, project(), env=env)
    assert executed(done.stderr) == []


# --- Three builders ------------------------------------------------------------------------------


def test_three_builders_share_one_registry(
    stores: Stores, project: Project, plain: Server, tmp_path: Path
) -> None:
    """Separate stores, the same moment, one registry and nothing else (docs/scaling.md)."""
    top = f"{plain.address}/fleet"
    base = built(
        stores("seed"), tmp_path, "--push", "-t", f"{top}/app:main",
        f"--cache-to={top}/cache:main,mode=max", project(),
    )  # fmt: skip
    outputs: dict[int, str] = {}

    def build(number: int, cli: Cli, context: str) -> None:
        done = cli(
            "build", "--progress=plain", "--push", "-t", f"{top}/app:{number}",
            "--cache-from", f"{top}/cache:main", "--cache-to", f"{top}/cache:{number},mode=max",
            context,
        )  # fmt: skip
        outputs[number] = done.stderr

    contexts = [project(), project(last="a branch"), project(link="another branch")]
    threads = [
        threading.Thread(target=build, args=(number, stores(f"builder{number}"), context))
        for number, context in enumerate(contexts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert executed(outputs[0]) == []
    assert [step[:9] for step in executed(outputs[1])] == ["COPY last", "RUN cat /"]
    assert "RUN mkdir" not in "".join(executed(outputs[2]))
    for number, context in enumerate(contexts):
        # A fourth machine takes over from each of them.
        made = built(
            stores(f"later{number}"), tmp_path, "--push", "-t", f"{top}/app:later",
            "--cache-from", f"{top}/cache:{number}", context,
        )  # fmt: skip
        again = stores(f"check{number}")("image", "pull", "-q", f"{top}/app:{number}")
        assert again.stdout.strip() == made["containerimage.digest"]
        assert (made["containerimage.digest"] == base["containerimage.digest"]) == (number == 0)


def test_three_builders_that_end_at_once_leave_a_whole_cache(
    stores: Stores, project: Project, plain: Server
) -> None:
    """All write to one name: one of them is there afterwards, whole."""
    cache = f"{plain.address}/fleet/one:cache"
    contexts = {str(n): project(last=f"branch {n}") for n in range(3)}

    def build(name: str) -> None:
        stores(name)("build", f"--cache-to={cache},mode=max", contexts[name])

    threads = [threading.Thread(target=build, args=(name,)) for name in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ran = [
        len(
            executed(
                stores(f"after{name}")(
                    "build", "--progress=plain", "--cache-from", cache, context
                ).stderr
            )
        )
        for name, context in contexts.items()
    ]
    assert min(ran) == 0
