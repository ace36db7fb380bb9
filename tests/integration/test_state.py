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


def run(builds: Builds, program: str) -> str:
    """Run a program in an empty folder, with the store of `builds`."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=builds.cli.environment,
        cwd=builds.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_the_examples_of_the_page(builds: Builds) -> None:
    """In order, as one program: each goes on where the one before ended."""
    page = (CHECKOUT / "docs/state.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 5
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

    request = BuildRequest(graph=scratch().flat(), contexts={"x": "/no/such/folder"})
    with pytest.raises(UsageError, match="'x'"):
        read_definition(request)
