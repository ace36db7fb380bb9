"""`lab try`: trees as text, the algebra, and the two engines that have to say the same."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.cli.main import entry
from minibuild.errors import HostError, UsageError
from minibuild.lab.trees import edited, parse_tree
from minibuild.lab.trial import by_model, on_disk, parse, parse_expression, text_of
from minibuild.snapshot.defects import policy_for
from minibuild.worker.worker import Worker, open_worker
from tests.conftest import Cli


def model(expression: str, *trees: str) -> str:
    """The tree by the model: paths, with contents where there are some."""
    tree = by_model(*parse(expression, trees)).model
    return " ".join(
        path + (f"={entry.data.decode()}" if isinstance(entry.data, bytes) and entry.data else "")
        for path, entry in sorted(tree.items())
        if path
    )


VALUES = {
    "one tree": (["a", "a=x y/1"], "x y y/1"),
    "the later wins": (["merge(a, b)", "a=x=1", "b=x=2"], "x=2"),
    "and the other way round": (["merge(b, a)", "a=x=1", "b=x=2"], "x=1"),
    "a deletion": (["merge(a, diff(b, c))", "a=x y", "b=x", "c:b=-x z"], "y z"),
    "of what is not there": (["merge(a, diff(b, c))", "a=y", "b=x", "c:b=-x"], "y"),
    "two trees compared": (["merge(a, diff(b, c))", "a=x keep", "b=x", "c=y"], "keep y"),
    "back again": (["merge(a, diff(a, b), diff(b, a))", "a=x", "b=y"], "x"),
    "nothing": (["diff(a, a)", "a=x"], ""),
    "from scratch": (["diff(scratch, a)", "a=x"], "x"),
    "to scratch": (["merge(a, b, diff(a, scratch))", "a=x", "b=y"], "y"),
    "a chain is known": (["merge(o, diff(a, c))", "o=t", "a=x", "b:a=t", "c:b=-t y"], "y"),
    "a file over a directory": (["merge(a, b)", "a=d/1 d/2", "b=d"], "d"),
    "on a merge": (["top", "a=x", "b=y", "top:merge(a, b)=-x -y z"], "z"),
    "blanks in contents": (["a", "a='x=hello world'"], "x=hello world"),
    "links": (["a", "a=x=1 h=>x d/l->../x -x"], "d d/l h=1"),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_model(name: str) -> None:
    (expression, *trees), expected = VALUES[name]
    assert model(expression, *trees) == expected


def test_words_of_trees() -> None:
    tree = edited({}, parse_tree("d/:1777 x:600=hi l->/etc h=>x d/"), 7)
    assert tree["d"].mode == 0o1777, "said twice, the mode stays"
    assert (tree["x"].mode, tree["x"].data) == (0o600, b"hi")
    assert tree["h"] == tree["x"] and tree["l"].data == "/etc"


WRONG = {
    "a word that leads out": (["a", "a=../x"], "names no path"),
    "the root": (["a", "a=/"], "names no path"),
    "a link to nothing": (["a", "a=l->"], "names no target"),
    "a hardlink to nothing": (["a", "a=h=>x"], "there is no file x"),
    "a hardlink to a directory": (["a", "a=d/ h=>d"], "there is no file d"),
    "a hardlink inside what it replaces": (["a", "a=d/x d=>d/x"], "there is no file d/x"),
    "a removal of nothing": (["a", "a=-x"], "removes what is not there"),
    "an open quote": (["a", "a='x"], "cannot be read"),
    "a tree without a name": (["a", "x y"], "names no tree"),
    "a name that is taken": (["a", "a=x", "a=y"], "'a' is taken"),
    "a name of a function": (["a", "merge=x"], "'merge' is taken"),
    "no such tree": (["merge(a, b)", "a=x"], "there is no tree 'b'"),
    "a tree made on a later one": (["a", "a:b=x", "b=y"], "there is no tree 'b'"),
    "no expression": (["merge(a", "a=x"], "cannot be read"),
    "another function": (["open(a)", "a=x"], "'open(a)' is no part"),
    "a number": (["merge(a, 1)", "a=x"], "'1' is no part"),
    "a diff of three": (["diff(a, a, a)", "a=x"], "diff takes two"),
    "very deep": (["merge(" * 250 + "a" + ")" * 250, "a=x"], "cannot be read"),
    "very long": (["a" * 3000, "a=x"], "too long"),
    "a name that no filesystem takes": (["a", "a=" + "x" * 300], "longer than"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense(name: str) -> None:
    (expression, *trees), message = WRONG[name]
    with pytest.raises(UsageError, match=message.replace("(", r"\(").replace(")", r"\)")):
        by_model(*parse(expression, trees))


def test_an_expression_as_text() -> None:
    assert text_of(parse_expression(" merge( a,diff(b,scratch),merge())")) == (
        "merge(a, diff(b, scratch), merge())"
    )


# --- On disk ---


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A store, for those who need no user namespace; the others have the tests of the command."""
    if os.geteuid():
        pytest.skip("not root here; the command enters a user namespace")
    with open_worker(str(tmp_path_factory.mktemp("try") / "store")) as opened:
        yield opened


@pytest.mark.parametrize("name", VALUES)
def test_the_disk_says_the_same(worker: Worker, name: str) -> None:
    (expression, *trees), _ = VALUES[name]
    trial = on_disk(by_model(*parse(expression, trees)), worker)
    assert trial.agrees and trial.chosen is not None, trial


NAMES = ["x", "d", "d/x", "d/e", "d/e/x"]
words = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from([f"{n}=1" for n in NAMES]),
    st.sampled_from([f"{n}/" for n in NAMES]),
    st.sampled_from([f"{n}->nowhere" for n in NAMES]),
    st.sampled_from(["x:600", "d/:700", "l->d", "l/x"]),
)
lines = st.lists(words, max_size=4).map(" ".join)
leaves = st.sampled_from(["a", "b", "c", "r", "scratch"])
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"merge({', '.join(parts)})"),
        st.tuples(inner, inner).map(lambda sides: f"diff({sides[0]}, {sides[1]})"),
    ),
    max_leaves=6,
)


@settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(expressions, lines, lines, lines, st.sampled_from(["a", "merge(a, b)", "diff(a, b)"]))
def test_two_engines_agree(
    worker: Worker, expression: str, a: str, b: str, c: str, below: str
) -> None:
    """Also where trees are made on others: `r` has no x and a new directory d, opaque if there was
    one."""
    trees = [f"a={a} x d/x", f"b={b}", f"c:b={c}", f"r:{below}=x d/ -x -d d/new"]
    trial = on_disk(by_model(*parse(expression, trees)), worker)
    assert trial.agrees, (expression, trees, trial.chosen, trial.linked)


def test_a_defect_shows_as_a_difference(worker: Worker) -> None:
    """The test of pull request 4516 in one line."""
    trees = ["base=d/1", "extra=d/2", "top:merge(base, extra)=-d/1 -d/2"]
    trial = by_model(*parse("diff(base, top)", trees))
    assert on_disk(trial, worker).agrees
    worse = on_disk(trial, worker, policy_for("whiteout-links"))
    assert not worse.agrees and worse.chosen is not None
    if worse.chosen.error:
        assert "failed to hardlink" in worse.chosen.error
        assert worker.store.root not in worse.chosen.error


# --- The command ---


@pytest.mark.integration
@pytest.mark.needs("mount", "overlay")
def test_the_command(cli: Cli) -> None:
    words = ["lab", "try", "merge(a, diff(b, c))", "a=x y/1", "b=x", "c:b=-x y/2"]
    text = cli(*words).stdout
    assert "    1  c, made on b  .wh.x     x  c 0:0" in text
    assert "how   hardlinks: layer 1 hides files, and would hide others on this base;" in text
    assert text.splitlines()[-1] == "the model and the disk say the same"
    data: dict[str, Any] = json.loads(cli(*words, "--format", "json").stdout)
    assert data["agree"] is True
    assert [entry["path"] for entry in data["tree"]] == ["y", "y/1", "y/2"]
    assert data["layers"][1]["tar"] == [".wh.x", "y/", "y/2"]
    assert data["layers"][1]["upperdir"][0]["whiteout"] is True
    assert data["merge"]["strategy"] == "hardlink" and data["by_hardlinks"] is None
    assert os.listdir(f"{cli.root}/ingest") == []


@pytest.mark.integration
@pytest.mark.needs("mount", "overlay")
def test_the_command_tells_opaque_and_stacked(cli: Cli) -> None:
    opaque = cli("lab", "try", "diff(a, r)", "a=d/old", "r:a=-d d/new").stdout
    assert "d/  opaque" in opaque and "d/.wh.old" in opaque
    stacked = cli("lab", "try", "merge(a, b)", "a=x=1", "b=x=2").stdout
    assert "how   stacked: no layer hides files\nalso  hardlinks: asked for;" in stacked
    assert stacked.endswith("say the same, stacked and by hardlinks\n")


def test_without_snapshots_the_model_answers_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused() -> str:
        raise HostError("this account may not make user namespaces")

    monkeypatch.setattr("minibuild.cli.lab_try.enter", refused)
    monkeypatch.setenv("MINIBUILD_ROOT", str(tmp_path / "store"))
    words = ["lab", "try", "merge(a, b)", "a=x=1", "b=x=2"]
    assert entry(words) == HostError.exit_code
    text = capsys.readouterr().out
    assert "  x     644   2" in text and "may not make user namespaces" in text
    assert entry([*words, "--format=json"]) == HostError.exit_code
    data = json.loads(capsys.readouterr().out)
    assert data["agree"] is None and data["merge"] is None
    assert not (tmp_path / "store").exists()


def test_words_that_make_no_sense_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["lab", "try", "merge(a", "a=x"]) == UsageError.exit_code
    assert entry(["lab", "try", "a", "a=x", "--defect", "none"]) == UsageError.exit_code
    assert "whiteout" in capsys.readouterr().err
