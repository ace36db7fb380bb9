"""The types of the Python API: what an editor and `mypy --strict` make of right and wrong calls."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest

import minibuild
from minibuild.buildflags.options import BuildOptions, CallOptions
from minibuild.buildflags.request import READERS, build_request
from minibuild.session.request import BuildRequest
from tests.conftest import CHECKOUT
from tests.support.types import complaints

SNIPPETS = Path(__file__).parent / "snippets"


@pytest.mark.linters
def test_right_calls(tmp_path: Path) -> None:
    """Those of the page as well, which is one program."""
    page = (CHECKOUT / "docs/python-api.md").read_text()
    program = tmp_path / "page.py"
    program.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)))
    found, said = complaints(SNIPPETS / "right.py", program)
    assert not found and "error" not in said, said


@pytest.mark.linters
def test_wrong_calls() -> None:
    path = SNIPPETS / "wrong.py"
    lines = path.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found, said = complaints(path)
    assert len(marked) > 20 and found == marked, said


def test_every_option_is_a_field_of_a_request() -> None:
    """And every field an option, and each is read in some way."""
    options = set(get_type_hints(BuildOptions)) - set(get_type_hints(CallOptions))
    fields = set(BuildRequest._fields)
    assert options == fields - {"context", "graphs", "revisions"}
    assert set(READERS) == fields - {"context"}


def test_the_signature_says_all_options() -> None:
    """For `help` and for the completion of notebooks."""
    import inspect

    parameters = inspect.signature(minibuild.build).parameters
    assert next(iter(parameters)) == "context"
    assert set(parameters) - {"context"} == set(get_type_hints(BuildOptions))


def test_the_defaults_that_it_says_mean_nothing_is_asked() -> None:
    import inspect

    parameters = dict(inspect.signature(minibuild.build).parameters)
    said = {name: one.default for name, one in parameters.items() if name in READERS}
    environment = minibuild.Environment({}, 0)
    assert build_request(".", said, environment) == build_request(".", {}, environment)


def test_every_public_name_is_there() -> None:
    """What is declared for type checkers is what a program gets, and `dir` shows it."""
    names = {name for listed in minibuild._HOMES.values() for name in listed.split()}
    text = Path(minibuild.__file__).read_text()
    for module, listed in minibuild._HOMES.items():
        declared = re.findall(rf"from minibuild\.{module} import (\w+) as \1\n", text)
        assert declared == listed.split()
        assert all(getattr(minibuild, name) is not None for name in listed.split())
    assert names <= set(dir(minibuild))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(minibuild, "nothing")  # noqa: B009
