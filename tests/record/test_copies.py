"""Where a COPY puts what it reads."""

from typing import Any

import pytest

from minibuild.record.blame import placed


def copy(*paths: str, dest: str, **fields: Any) -> dict[str, Any]:
    return {"paths": paths, "dest": dest, **fields}


FILE, DIR = "file 0644 0123", "dir 0755"


@pytest.mark.parametrize(
    ("action", "files", "expected"),
    [
        (copy("a", dest="/out/"), {"/a": FILE}, {"out/a": "/a"}),
        (copy("x/a", dest="/out/."), {"/x/a": FILE}, {"out/a": "/x/a"}),
        (copy("a", dest="/b"), {"/a": FILE}, {"b": "/a", "b/a": "/a"}),
        (copy("a", "b", dest="/d"), {"/a": FILE, "/b": FILE}, {"d/a": "/a", "d/b": "/b"}),
        (copy("d", dest="/e"), {"/d": DIR, "/d/s/f": FILE}, {"e": "/d", "e/s/f": "/d/s/f"}),
        (copy(".", dest="/"), {"/a": FILE, "/d/b": FILE}, {"a": "/a", "d/b": "/d/b"}),
        (copy("*.js", dest="/o"), {"/a.js": FILE}, {"o/a.js": "/a.js"}),
        (copy("m*", dest="/o"), {"/m1/a": FILE, "/m2/a": FILE}, {"o/a": "/m2/a"}),
        (copy("m2", "m1", dest="/o/"), {"/m1/a": FILE, "/m2/a": FILE}, {"o/a": "/m1/a"}),
        (copy("x/y", dest="/p", parents=True), {"/x/y": FILE}, {"p/x/y": "/x/y"}),
        (copy("other", dest="/o/"), {"/a": FILE}, {}),
    ],
)
def test_placed(action: dict[str, Any], files: dict[str, str], expected: dict[str, str]) -> None:
    """The last of several that come to one place is the one that is there."""
    assert dict(placed(action, files)) == expected
