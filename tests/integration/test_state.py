"""Graphs made in Python: the page about them is run, and what it does not say is tried."""

import re
import subprocess
import sys

import pytest

from minibuild.errors import UsageError
from minibuild.graph.flat import rebuilt
from minibuild.graph.state import image, merge, scratch
from minibuild.graph.vertex import topological
from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S


def run(builds: Builds, program: str) -> str:
    """Run a program in an empty folder, with the store of `builds`."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=builds.cli.environment,
        cwd=builds.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_the_examples_of_the_page(builds: Builds) -> None:
    """In order, as one program: each goes on where the one before ended."""
    page = (CHECKOUT / "docs/state.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 6
    assert run(builds, "\n".join(blocks)).startswith("sha256:")
    builds.cli("run", "site:1", "grep", "hello", "/srv/index.html")


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_settings_errors_and_the_cache(builds: Builds) -> None:
    program = """
import minibuild
from minibuild.graph.state import image, local, scratch
state = image("busybox").with_env("A", "b").with_cwd("/srv").with_user("root")
state = state.run("test $A = b && test $PWD = /srv && test $(id -un) = root")
first = state.build()
config = first.images[0].config.config
print(config["User"], config["WorkingDir"], "A=b" in config["Env"])
print(first.executed, state.build().executed)
for wrong, fields in (
    (image("busybox").run("exit 3"), {}),
    (image("no-such-image"), {"pull": "never"}),
    (scratch().copy(local("x"), "/", "/"), {"contexts": {"x": "/no/such/folder"}}),
):
    try:
        wrong.build(**fields)
    except minibuild.BuildError as error:
        print(type(error).__name__)
"""
    said = run(builds, program).splitlines()
    assert said == ["root /srv True", "1 0", "StepFailed", "RegistryError", "UsageError"]


OTHERS = """
import os, tarfile
from minibuild import Output
from minibuild.errors import BuildError
from minibuild.graph.state import Mount, image, local, scratch
os.makedirs("folder/d")
for name in ("folder/f", "folder/gone", "folder/d/g"):
    open(name, "w").close()
with open("folder/.dockerignore", "w") as file:
    file.write("gone\\n.dockerignore\\n")
with tarfile.open("archive.tar", "w") as tar:
    tar.add("folder/f", "from-tar")
made = scratch().mkfile("/from-layout")
made.build(Output("oci", "layout", attributes={"tar": "false", "name": "it:1"}))

def files(state, **contexts):
    state.mkfile("/own").build(Output("local", "out"), contexts=contexts)
    found = sorted(name for name in os.listdir("out"))
    __import__("shutil").rmtree("out")
    return found
"""


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_contexts_in_place_of_images(builds: Builds) -> None:
    """What `--build-context` takes, for names of images in any form, and for those of folders."""
    program = f"""{OTHERS}
layout = "oci-layout://" + os.path.abspath("layout") + ":it:1"
print(files(image("busybox"), busybox=layout))
print(files(image("docker.io/library/busybox:latest"), busybox=layout))
print(files(image("busybox:1"), **{{"index.docker.io/library/busybox:1": layout}}))
print(files(image("not/there"), **{{"not/there": "folder"}}))
print(files(image("busybox"), busybox="archive.tar"))
print(files(image("busybox"), busybox="docker-image://scratch"))
print("bin" in files(image("other"), other="docker-image://busybox"))
print(files(scratch().copy(local("x"), ".", "/"), x="archive.tar"))
print(files(scratch().copy(local("x"), ".", "/"), x=layout))
print(files(scratch().copy(local("x", ["f"]), ".", "/"), x="folder"))
for name, contexts in (("x", {{}}), ("x", {{"x": "oci-layout://nowhere:1"}})):
    try:
        files(scratch().copy(local(name), ".", "/"), **contexts)
    except BuildError as error:
        print(type(error).__name__, error.message)
"""
    assert run(builds, program).splitlines() == [
        "['from-layout', 'own']",
        "['from-layout', 'own']",
        "['from-layout', 'own']",
        "['d', 'f', 'own']",
        "['from-tar', 'own']",
        "['own']",
        "True",
        "['from-tar', 'own']",
        "['from-layout', 'own']",
        "['.dockerignore', 'd', 'gone', 'own']",
        "DefinitionError there is no context 'x'",
        "ImageError nowhere does not exist",
    ]


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_going_on_from_a_mount(builds: Builds) -> None:
    program = """
import os, shutil
from minibuild import Output
from minibuild.errors import BuildError
from minibuild.graph.state import Mount, diff, image, local, merge, scratch

def files(state, top="", **contexts):
    made = state.build(Output("local", "out"), contexts=contexts)
    found = {}
    for folder, _, names in os.walk(os.path.join("out", top)):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.getsize(path) < 100 and not os.path.islink(path):
                found[os.path.relpath(path, "out")] = open(path).read().strip()
    shutil.rmtree("out")
    return made.executed, sorted(found.items())

uuid = "cat /proc/sys/kernel/random/uuid"
base = scratch().mkdir("/keep").mkfile("/keep/a", b"a").mkfile("/keep/b", b"b")
mounts = [
    Mount("/empty", scratch(), readonly=False),
    Mount("/full", base, readonly=False),
    Mount("/part", base, source="/keep", readonly=False),
    Mount("/seen", base),
]
ran = image("busybox").run(
    f"{uuid} | tee /empty/u > /u && rm /full/keep/a && echo new > /full/n && echo c > /part/c",
    mounts=mounts,
)
parts = [ran.get_mount(f"/{name}") for name in ("empty", "full", "part")]
both = image("busybox").copy(ran, "/u", "/one/root").copy(parts[0], "/u", "/one/mount")
count, one = files(both, "one")
print(count, len(one), len({text for _, text in one}))
for part in parts[1:]:
    print(files(part))
print(files(both)[0])
print([name for name, _ in files(merge([parts[0], diff(base, parts[1])]))[1]])

# A result that is gone has to be made again, and with it what the same run made besides.
import sqlite3
with sqlite3.connect(os.environ["MINIBUILD_ROOT"] + "/meta.db") as db:
    print(db.execute("DELETE FROM records WHERE name LIKE 'RUN%' AND key = canonical").rowcount)
print(files(parts[2]))

# Steps go on from it, also as a root filesystem.
writes = Mount("/out", image("busybox"), readonly=False)
tree = image("busybox").run("echo on > /out/on", mounts=[writes])
print(dict(files(tree.get_mount("/out").run("test ! -e /u && cat /on > /more"))[1])["more"])

for state, target in ((ran, "/seen"), (ran, "/nowhere"), (base, "/x")):
    try:
        state.get_mount(target)
    except BuildError as error:
        print(error.message)
wrong = image("busybox").run("exit 3", mounts=mounts[:1])
try:
    wrong.get_mount("/empty").build()
except BuildError as error:
    print(type(error).__name__)
"""
    said = run(builds, program).splitlines()
    part = "[('keep/a', 'a'), ('keep/b', 'b'), ('keep/c', 'c')]"
    assert said == [
        "6 2 1",
        "(0, [('keep/b', 'b'), ('n', 'new')])",
        f"(0, {part})",
        "0",
        "['n', 'u']",
        "4",
        f"(1, {part})",
        "on",
        "the last step of this state writes to no mount at /seen",
        "the last step of this state writes to no mount at /nowhere",
        "the last step of this state writes to no mount at /x",
        "StepFailed",
    ]
    assert builds.leftovers() == []


def test_a_graph_survives_as_a_list() -> None:
    import pickle

    deep = scratch()
    for number in range(2000):
        deep = deep.mkfile(f"/{number}")
    state = merge([image("busybox"), deep, image("busybox").run("true")])
    flat = pickle.loads(pickle.dumps(state.flat()))
    again = rebuilt(flat)
    assert again == state.vertex
    assert [v.note for v in topological([again])] == [v.note for v in topological([state.vertex])]
    assert rebuilt(scratch().flat()) is None


def test_the_class_is_found_in_the_package_too() -> None:
    import minibuild.graph

    assert minibuild.graph.State is type(scratch())
    with pytest.raises(AttributeError, match="no attribute 'Stat'"):
        minibuild.graph.Stat  # noqa: B018


def test_a_context_that_is_not_there() -> None:
    from minibuild.frontend.definition import read_definition
    from minibuild.session.request import BuildRequest

    request = BuildRequest(graphs=(scratch().flat(),), contexts={"x": "/no/such/folder"})
    with pytest.raises(UsageError, match="'x'"):
        read_definition(request)
