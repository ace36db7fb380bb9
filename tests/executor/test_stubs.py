"""Mount points: what is made where several steps have the same directory."""

import errno
import os
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError
from minibuild.executor.stubs import StubMaker
from minibuild.linux.descriptors import closing_fd


@pytest.mark.parametrize("theirs", ["directory", "file"])
def test_another_step_makes_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    """Two steps that share a cache directory mount something in it: the slower one takes what the
    other has made, if it is of the right kind."""
    point, mkdir = os.path.join(tmp_path, "point"), os.mkdir

    def late(path: str, mode: int) -> None:
        mkdir(path, mode) if theirs == "directory" else Path(path).touch()
        raise FileExistsError(errno.EEXIST, "another was faster")

    monkeypatch.setattr(os, "mkdir", late)
    with closing_fd(os.open("/", os.O_PATH)) as root, closing_fd(os.open(tmp_path, 0)) as upper:
        maker = StubMaker(root, upper)
        if theirs == "directory":
            maker.make(point, is_dir=True)
        else:
            with pytest.raises(DefinitionError, match="has a file there"):
                maker.make(point, is_dir=True)
        assert not maker.stubs
