"""Caches that are missing, damaged or written by several builders at once."""

import json
import threading
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.registry.conftest import Authority
from tests.registry.machines import (
    DOCKERFILE,
    Project,
    Stores,
    built,
    executed,
)
from tests.support.faulty import Fault, Faulty
from tests.support.registry import PASSWORD, USER
from tests.support.registry import Registry as Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]


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
