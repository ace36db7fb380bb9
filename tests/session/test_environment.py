"""The environment, and where state goes by default."""

import os
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.session import environment as module
from minibuild.session.environment import Environment

ME = 1000


@pytest.mark.parametrize(
    ("variables", "uid", "root"),
    [
        ({"MINIBUILD_ROOT": "/srv/x", "XDG_DATA_HOME": "/d"}, ME, "/srv/x"),
        ({"MINIBUILD_ROOT": "/srv/x"}, 0, "/srv/x"),
        ({"MINIBUILD_ROOT": ""}, 0, "/var/lib/minibuild"),
        ({"HOME": "/root", "XDG_DATA_HOME": "/d"}, 0, "/var/lib/minibuild"),
        ({"XDG_DATA_HOME": "/d", "HOME": "/h"}, ME, "/d/minibuild"),
    ],
)
def test_root(variables: dict[str, str], uid: int, root: str) -> None:
    assert Environment(variables, uid).root == root


def test_a_relative_root_is_below_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Environment({"MINIBUILD_ROOT": "s"}, ME).root == str(tmp_path / "s")


@pytest.mark.parametrize("data_home", ["", "relative"])
def test_home(tmp_path: Path, data_home: str) -> None:
    """A relative XDG_DATA_HOME is to be ignored, says the specification."""
    environment = Environment({"HOME": str(tmp_path), "XDG_DATA_HOME": data_home}, ME)
    assert environment.root == str(tmp_path / ".local/share/minibuild")


def test_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = []
    monkeypatch.setattr(module, "_private_folder", lambda path, uid: made.append(path) or path)
    for home in ("/nonexistent", "", "relative"):
        root = Environment({"HOME": home}, 65534).root
        assert root == "/var/tmp/minibuild-65534"
    assert len(made) == 3


def test_the_folder_in_var_tmp_is_ours_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "minibuild-1")
    assert module._private_folder(path, os.getuid()) == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert module._private_folder(path, os.getuid()) == path


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    """Others may put anything into /var/tmp: a link, a folder of theirs, an open one."""
    link, other, shared = tmp_path / "link", tmp_path / "other", tmp_path / "shared"
    link.symlink_to(tmp_path)
    other.mkdir(mode=0o700)
    shared.mkdir()
    shared.chmod(0o777)
    for path, uid in ((link, os.getuid()), (other, os.getuid() + 1), (shared, os.getuid())):
        with pytest.raises(HostError, match="not a folder of yours"):
            module._private_folder(str(path), uid)


def test_no_color() -> None:
    assert Environment({}, ME).colours
    assert Environment({"NO_COLOR": ""}, ME).colours
    assert not Environment({"NO_COLOR": "1"}, ME).colours


@pytest.mark.parametrize(
    ("variables", "loads", "unused"),
    [
        ({"HOME": "/x", "DOCKER_CONFIG": "/y", "BUILDKIT_PROGRESS": "plain"}, False, []),
        ({"DOCKER_HOST": "tcp://x", "BUILDKIT_HOST": "y"}, False, ["BUILDKIT_HOST", "DOCKER_HOST"]),
        ({"DOCKER_HOST": "tcp://x", "BUILDKIT_HOST": "y"}, True, ["BUILDKIT_HOST"]),
        ({"DOCKER_HOST": "", "BUILDX_BUILDER": ""}, False, []),
        (
            {"BUILDX_GIT_INFO": "1", "BUILDX_BUILDER": "b"},
            True,
            ["BUILDX_BUILDER", "BUILDX_GIT_INFO"],
        ),
        ({"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, False, []),
    ],
)
def test_what_is_for_another_builder(
    variables: dict[str, str], loads: bool, unused: list[str]
) -> None:
    assert Environment(variables, ME).unused(loads=loads) == unused
