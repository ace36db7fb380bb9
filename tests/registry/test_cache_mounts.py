"""Cache mounts that travel, whole builds: between stores, by way of a registry or a folder."""

import io
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

import minibuild
from minibuild.events import Event, Warned, silent
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import unmetered
from minibuild.oci.model import OCI_LAYER, Descriptor, describe
from minibuild.remotecache.mounts.artifact import read_mounts, write_mounts
from minibuild.remotecache.places import open_place
from minibuild.session.request import CacheMountPlace, RegistryAccess
from tests.conftest import Cli
from tests.registry.conftest import Authority
from tests.registry.machines import Stores
from tests.support.faulty import Fault, Faulty
from tests.support.probes import is_root
from tests.support.registry import PASSWORD, USER, skopeo
from tests.support.registry import Registry as Server
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]
Project = Callable[[str], str]

BUILD: Any = SimpleNamespace(
    registries=RegistryAccess(), cancelled=threading.Event(), report=silent
)

# The owner of the file is another one than root where there is another one.
FILL = "(chown 7:8 /c/f 2>/dev/null; chmod 2640 /c/f; ln -s f /c/s)"
DOCKERFILE = f"""\
FROM busybox
ARG RUN=1
RUN --mount=type=cache,target=/c cat /c/f > /before 2>/dev/null; echo $RUN >> /c/f && {FILL}; \\
    stat -c '%u:%g %a' /c/f > /owner; true
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """`project(dockerfile)` writes a build context and returns its path."""
    made: list[str] = []

    def write(text: str) -> str:
        folder = tmp_path / f"context{len(made)}"
        folder.mkdir()
        (folder / "Dockerfile").write_text(text)
        made.append(str(folder))
        return made[-1]

    return write


def files(
    cli: Cli, context: str, *flags: str, env: Mapping[str, str] | None = None
) -> tuple[str, str, str]:
    """What the step found, the owner and mode it saw, and what was said."""
    out = cli.root + f"-out{time.monotonic_ns()}"
    said = cli("build", "--progress=plain", f"-o{out}", *flags, context, env=env).stderr
    texts = [Path(out, name).read_text() for name in ("before", "owner")]
    return texts[0], texts[1].strip(), said


def through(place: str) -> tuple[str, ...]:
    """The flags for both directions; `place` has KEY where they differ."""
    return (
        "--cache-mount-from=" + place.replace("KEY", "src"),
        "--cache-mount-to=" + place.replace("KEY", "dest"),
    )


@pytest.mark.parametrize(
    ("kind", "sharing"), [("registry", "shared"), ("local", "locked"), ("local", "private")]
)
def test_a_second_store_goes_on_with_the_mount(
    stores: Stores, project: Project, plain: Server, tmp_path: Path, kind: str, sharing: str
) -> None:
    context = project(DOCKERFILE.replace("target=/c", f"target=/c,sharing={sharing}"))
    place = f"type=local,KEY={tmp_path}/p"
    if kind == "registry":
        place = f"type=registry,ref={plain.address}/mounts/{sharing}"
    flags = through(place)
    before, owner, said = files(stores("first"), context, *flags)
    assert before == ""
    assert "there are no cache mounts at" in said
    before, again, said = files(stores("second"), context, *flags, "--build-arg=RUN=2")
    assert before == "1\n"
    assert again == owner
    assert "warning" not in said
    before, _, _ = files(stores("third"), context, *flags, "--build-arg=RUN=3")
    assert before == "1\n2\n"


def requests(server: Server, since: int, word: str) -> list[str]:
    return [line for line in server.requests()[since:] if word in line]


def test_nothing_is_sent_twice(stores: Stores, project: Project, plain: Server) -> None:
    context = project(
        DOCKERFILE + "RUN --mount=type=cache,id=big,target=/d "
        "test -e /d/x || head -c 100000 /dev/urandom > /d/x\n"
    )
    flags = through(f"{plain.address}/twice/app:m")
    first, second = stores("first"), stores("second")
    files(first, context, *flags)
    for cli in (first, second):  # all from the cache; and all of what was brought is still the same
        start = len(plain.requests())
        _, _, said = files(cli, context, *flags)
        if cli is first:
            assert "unchanged" in said
            assert requests(plain, start, "blobs") == []
        else:
            # /c/f has a line more: its layer is sent, and the big one is not.
            assert len([r for r in requests(plain, start, "POST")]) <= 2
    start = len(plain.requests())
    _, _, said = files(second, context, *flags, "--no-cache")
    assert "sent" in said
    sent = requests(plain, start, "PUT /v2/twice/app/blobs")
    assert len(sent) == 1  # the small mount alone
    third = stores("third")
    start = len(plain.requests())
    third("build", "--cache-mount-from", f"ref={plain.address}/twice/app:m,id=big", context)
    assert len(requests(plain, start, "GET /v2/twice/app/blobs")) == 1


def test_what_came_from_one_name_is_mounted_at_another(
    stores: Stores, project: Project, plain: Server, tmp_path: Path
) -> None:
    """A branch starts with the mounts of the main line: only what it changes is sent."""
    context = project(
        DOCKERFILE + "RUN --mount=type=cache,id=big,target=/d test -e /d/x || echo x > /d/x\n"
    )
    main, branch = f"{plain.address}/line/main:m", f"{plain.address}/line/branch:m"
    files(stores("first"), context, f"--cache-mount-to={main}")
    cli, start = stores("second"), len(plain.requests())
    flags = (f"--cache-mount-from={main}", f"--cache-mount-to={branch}")
    files(cli, context, *flags, "--build-arg=RUN=2")
    lines = [line for line in plain.requests()[start:] if "/line/branch/blobs" in line]
    mounted = [line for line in lines if line == "POST /v2/line/branch/blobs/uploads/ 201"]
    sent = [line for line in lines if line.startswith("PUT")]
    assert (len(mounted), len(sent)) == (1, 2)  # of /d; of /c and of the empty config
    assert ids_of(plain, branch) == ["/c", "big"]
    # Into a folder, too: what is in no other place comes from the registry.
    flag = f"--cache-mount-to=type=local,dest={tmp_path}/p"
    files(stores("third"), context, f"--cache-mount-from={branch}", flag, "--build-arg=RUN=3")
    assert ids_in(tmp_path / "p") == ["/c", "big"]


def ids_of(server: Server, name: str) -> list[str]:
    asked = CacheMountPlace("registry", ref=name)
    kept = read_mounts(open_place(asked, BUILD))
    return [] if kept is None else sorted(kept.layers)


def test_an_empty_mount_keeps_what_is_there_and_cached_steps_bring_nothing(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    flags = through(f"type=local,KEY={tmp_path}/p")
    files(stores("first"), project(DOCKERFILE), flags[1])
    cli = stores("second")
    context = project("FROM busybox\nRUN --mount=type=cache,target=/c true\n")
    assert "unchanged" in cli("build", "--progress=plain", flags[1], context).stderr
    assert ids_in(tmp_path / "p") == ["/c"]
    said = cli("build", "--progress=plain", flags[0] + ",force=true", context).stderr
    assert "importing" not in said


def test_a_mount_in_use_is_left_alone_unless_the_place_is_to_win(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    context = project(DOCKERFILE)
    place = f"type=local,KEY={tmp_path}/p"
    files(stores("first"), context, through(place)[1], "--build-arg=RUN=there")
    cli = stores("second")
    files(cli, context, "--build-arg=RUN=here")
    flag = f"--cache-mount-from=type=local,src={tmp_path}/p"
    before, _, said = files(cli, context, flag, "--build-arg=RUN=2")
    assert before == "here\n"
    assert "importing" not in said
    before, _, said = files(cli, context, flag + ",force=true", "--build-arg=RUN=3")
    assert before == "there\n"
    # What was sent and has not changed since is what would be brought: nothing is.
    files(cli, context, through(place)[1])
    _, _, said = files(cli, context, flag + ",force=true", "--build-arg=RUN=4")
    assert "importing" not in said


def test_a_seed_counts_only_where_nothing_is_brought(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    context = project(
        "FROM busybox AS seed\nRUN mkdir /s && echo seed > /s/f\n"
        + DOCKERFILE.replace("target=/c", "target=/c,from=seed,source=/s")
    )
    flags = through(f"type=local,KEY={tmp_path}/p")
    assert files(stores("first"), context, *flags)[0] == "seed\n"
    assert files(stores("second"), context, *flags, "--build-arg=RUN=2")[0] == "seed\n1\n"


def test_by_id(stores: Stores, project: Project, tmp_path: Path) -> None:
    context = project(
        "FROM busybox\nRUN --mount=type=cache,id=a,target=/a --mount=type=cache,id=b,target=/b "
        "touch /a/x /b/x\n"
    )
    cli = stores("first")
    flag = f"--cache-mount-to=type=local,dest={tmp_path}/p"
    said = cli("build", f"{flag},id=a,id=typo", context).stderr
    assert "there is no cache mount typo in the store" in said
    assert ids_in(tmp_path / "p") == ["a"]
    cli("build", flag, context)
    assert ids_in(tmp_path / "p") == ["a", "b"]


def ids_in(folder: Path) -> list[str]:
    """The ids of the cache mounts in a folder, read without our own code."""
    index = json.loads((folder / "index.json").read_text())
    digest = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((folder / "blobs/sha256" / digest).read_text())
    return [layer["annotations"]["minibuild.cache-mount.id"] for layer in manifest["layers"]]


@pytest.mark.parametrize("broken", ["no server", "403", "an image", "damaged", "a login"])
def test_what_cannot_be_brought_is_a_warning(
    stores: Stores,
    project: Project,
    plain: Server,
    guarded: Server,
    authority: Authority,
    tmp_path: Path,
    broken: str,
) -> None:
    context = project(DOCKERFILE)
    cli = stores("first")
    env: dict[str, str] = {}
    with Faulty() as faulty:
        ref = f"ref={faulty.address}/app:m"
        if broken == "no server":
            ref = "ref=127.0.0.1:1/app:m"
        elif broken == "403":
            faulty.faults += [Fault("/manifests/", 403)] * 20
        elif broken == "an image":
            ref = f"ref={faulty.image('app', b'layer')}"
        elif broken == "a login":
            ref = f"ref={guarded.address}/app:m"
            env["SSL_CERT_FILE"] = authority.ca
        else:
            files(stores("other"), context, f"--cache-mount-to={ref}")
            for digest, data in faulty.blobs.items():
                if len(data) > 10:
                    faulty.blobs[digest] = data[:-10] + b"0123456789"
        before, _, said = files(cli, context, f"--cache-mount-from={ref}", env=env)
    assert before == ""
    assert "1 warning found" in said
    assert "CacheMountNotImported" in said
    assert not os.listdir(f"{cli.root}/ingest")


def test_an_export_that_fails_fails_the_build_unless_told_otherwise(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    context = project(DOCKERFILE)
    cli = stores("first")
    with Faulty() as faulty:
        image = faulty.image("app", b"layer")
        said = cli("build", f"--cache-mount-to={image}", context, code=7).stderr
        assert "something else than cache mounts" in said
        assert [line for line in faulty.asked if line.startswith("PUT")] == []
        said = cli("build", f"--cache-mount-to=ref={image},ignore-error=true", context).stderr
        assert "CacheMountNotExported" in said
    cli("build", "--cache-mount-to=127.0.0.1:1/app:m", context, code=4)
    assert not os.listdir(f"{cli.root}/ingest")


def test_with_a_password_and_an_authority_of_ones_own(
    stores: Stores, project: Project, guarded: Server, authority: Authority, tmp_path: Path
) -> None:
    context = project(DOCKERFILE)
    env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "SSL_CERT_FILE": authority.ca}
    os.mkdir(tmp_path / "docker")
    (tmp_path / "docker/config.json").write_text(
        json.dumps({"auths": {guarded.address: {"username": USER, "password": PASSWORD}}})
    )
    flags = through(f"{guarded.address}/secret/app:m")
    files(stores("first"), context, *flags, env=env)
    assert files(stores("second"), context, *flags, env=env)[0] == "1\n"


def test_nobody_packs_what_a_step_is_writing(
    stores: Stores, project: Project, tmp_path: Path
) -> None:
    """A step that writes two files, a while apart: what travels has none of them or both."""
    slow = project(
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c "
        "touch /c/started /c/one && sleep 0.5 && touch /c/two\n"
    )
    quick = project(
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c touch /c/quick && touch /ready\n"
    )
    cli = stores("first")
    running = cli.start("build", slow)
    mounts = Path(cli.root, "cache-mounts")
    assert comes(lambda: list(mounts.glob("*/0/started")))
    cli("build", f"--cache-mount-to=type=local,dest={tmp_path}/p", quick)
    assert running.poll() is not None or list(mounts.glob("*/0/two"))
    running.communicate()
    other = stores("second")
    listing = project(
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c ls /c > /before; touch /owner\n"
    )
    before, _, _ = files(other, listing, f"--cache-mount-from=type=local,src={tmp_path}/p")
    assert before.split() == ["one", "quick", "started", "two"]


def test_two_builds_of_one_store_bring_a_mount_once(
    stores: Stores, project: Project, plain: Server
) -> None:
    ref = f"{plain.address}/once/app:m"
    files(stores("first"), project(DOCKERFILE), f"--cache-mount-to={ref}")
    cli = stores("second")
    contexts = [project(DOCKERFILE.replace("RUN=1", f"RUN=b{n}")) for n in range(3)]
    start = len(plain.requests())
    running = [cli.start("build", f"--cache-mount-from={ref}", context) for context in contexts]
    for process in running:
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
    assert len(requests(plain, start, "GET /v2/once/app/blobs")) == 1


def test_many_write_to_one_name_at_once(plain: Server) -> None:
    """Each its own mount, in the same instant; none is lost."""
    asked = CacheMountPlace("registry", ref=f"{plain.address}/many/app:m")
    start = threading.Barrier(6)

    def write(number: int) -> None:
        data = b"%d" % number
        layer = describe(OCI_LAYER, data)
        place = open_place(asked, BUILD)
        start.wait()
        write_mounts(place, {f"m{number}": layer}, _Memory(data), unmetered)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids_of(plain, asked.ref) == [f"m{number}" for number in range(6)]


class _Memory(BlobSource):
    """One blob."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        return io.BytesIO(self._data[offset:])


def test_from_python(stores: Stores, project: Project, tmp_path: Path) -> None:
    context = project(DOCKERFILE)
    place = CacheMountPlace("local", path=str(tmp_path / "p"), compression="gzip", level=9)
    access = RegistryAccess()
    minibuild.build(context, root=stores("first").root, cache_mount_to=(place,), registries=access)
    events: list[Event] = []
    minibuild.build(
        context,
        root=stores("second").root,
        report=events.append,
        cache_mount_from=(place,),
        registries=access,
        cancelled=threading.Event(),
    )
    assert not [event for event in events if isinstance(event, Warned)]
    assert ids_in(tmp_path / "p") == ["/c"]


@pytest.mark.needs("skopeo")
def test_another_tool_copies_the_artifact(
    stores: Stores, project: Project, plain: Server, tmp_path: Path
) -> None:
    context, ref = project(DOCKERFILE), f"{plain.address}/skopeo/app:m"
    files(stores("first"), context, f"--cache-mount-to={ref}")
    place = f"oci:{tmp_path}/p:latest"
    skopeo("copy", "--src-tls-verify=false", f"docker://{ref}", place, home=str(tmp_path))
    flag = f"--cache-mount-from=type=local,src={tmp_path}/p"
    assert files(stores("second"), context, flag)[0] == "1\n"


@pytest.mark.skipif(not is_root(), reason="only root's stores have many owners")
def test_owners_are_those_that_steps_see(stores: Stores, project: Project, tmp_path: Path) -> None:
    _, owner, _ = files(
        stores("first"), project(DOCKERFILE), f"--cache-mount-to=type=local,dest={tmp_path}/p"
    )
    assert owner == "7:8 2640"
