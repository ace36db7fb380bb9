"""What `minibuild verify` says of two images, without building any."""

import pytest

from minibuild.cli.verify import Verdict, tell
from minibuild.digest import Digest
from minibuild.imagetools.compare import EntryDifference, FileChange, ValueChange
from minibuild.layer.tar_format import TarEntry

ENTRY = TarEntry("f", "file")


def lines(verdict: Verdict) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in tell(verdict, "5"))


@pytest.mark.parametrize(
    ("path", "detail", "advice"),
    [
        ("now", ("byte 0: '1795513966'", "byte 0: '1795513969'"), "it looks like a time"),
        ("now", ("byte 0: 'Tue Nov 24 09:52'", "byte 0: 'Tue Nov 24 09:53'"), "looks like a time"),
        ("var/cache/ldconfig/aux-cache", ("byte 0: 'a'", "byte 0: 'b'"), "inode numbers"),
        ("usr/lib/x/__pycache__/y.pyc", ("byte 0: 'a'", "byte 0: 'b'"), "DONTWRITEBYTECODE"),
        ("id", ("byte 0: 'a'", "byte 0: 'b'"), ""),
    ],
)
def test_advice(path: str, detail: tuple[str, str], advice: str) -> None:
    change = FileChange("changed", path, ("data",))
    found = EntryDifference(change, ENTRY, ENTRY, detail)
    told = lines(Verdict(Digest("d"), True, (1, 2), "RUN x", found))
    assert told["file"] == f"/{path}  (data)" and told["first"] == detail[0]
    assert advice in told.get("advice", "") and bool(advice) == ("advice" in told)


def test_metadata_is_shown_from_both_sides() -> None:
    change = FileChange("changed", "f", ("mode", "owner"))
    found = EntryDifference(change, ENTRY, ENTRY._replace(mode=0o4755, uid=7))
    told = lines(Verdict(Digest("d"), True, (1, 1), "RUN x", found))
    assert told["first"] == "mode 0644, owner 0:0, time 0"
    assert told["second"].startswith("mode 4755, owner 7:0")


def test_config_and_order() -> None:
    value = ValueChange("config.Env", ["A=1"], None)
    told = lines(Verdict(Digest("d"), True, (0, 3), value=value))
    assert (told["config"], told["first"], told["second"]) == ("config.Env", "['A=1']", "None")
    assert "another order" in lines(Verdict(Digest("d"), True, (1, 1), "RUN x"))["file"]
    assert next(tell(Verdict(Digest("sha256:1")), "5")) == "reproducible  sha256:1"
