"""Rules of copies that programs ask for, and no Dockerfile can."""

import os
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError
from minibuild.graph.op import CopyRules, Mkdir, Mkfile, Rm, Symlink
from minibuild.linux import device, xattr
from tests.fileop.trees import DIR, ME, Bench, make, tell


@pytest.mark.parametrize(
    ("before", "words", "rules", "expected"),
    [
        ({}, ("dir/sub", "/x"), CopyRules(contents=False), {"x": "/", "x/two": "2"}),
        (
            {"x/": ""},
            ("dir/sub", "/x"),
            CopyRules(contents=False),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        (
            {},
            ("dir/sub", "/x/"),
            CopyRules(contents=False),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        (
            {},
            ("/", "/x"),
            CopyRules(contents=False, include=("*/one",)),
            {"x": "/", "x/dir": "/", "x/dir/one": "1"},
        ),
        ({}, ("link", "/x"), CopyRules(follow=False), {"x": "-> dir/one"}),
        (
            {},
            ("dir", "/x"),
            CopyRules(include=("s*", "!sub/deep")),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        ({"x": "old"}, ("dir/sub", "/x"), CopyRules(replace=True), {"x": "/", "x/two": "2"}),
        (
            {"x/one/a": "a", "x/sub": "old"},
            ("dir", "/x"),
            CopyRules(replace=True),
            {"x": "/", "x/one": "1", "x/sub": "/", "x/sub/two": "2"},
        ),
    ],
)
def test_rules(
    bench: Bench,
    before: dict[str, str],
    words: tuple[str, ...],
    rules: CopyRules,
    expected: dict[str, str],
) -> None:
    make(bench.source, {"dir/one": "1", "dir/sub/two": "2", "link": "-> dir/one"})
    make(bench.dest, before)
    assert bench.copy(*words, rules=rules) == expected


@pytest.mark.parametrize(
    ("before", "dest", "mode"), [({}, "/x", 0o700), ({}, "/x/", 0o755), ({"x/": ""}, "/x", 0o755)]
)
def test_a_mode_is_that_of_the_top_too(
    bench: Bench, before: dict[str, str], dest: str, mode: int
) -> None:
    """As with the files of a git repository: that of a directory that is there, or is made for
    them, stays."""
    make(bench.source, DIR)
    make(bench.dest, before)
    bench.copy(".", dest, chmod="go=", rules=CopyRules(contents=False))
    names = ("x", "x/dir", "x/dir/one")
    modes = [os.stat(os.path.join(bench.dest, name)).st_mode & 0o777 for name in names]
    assert modes == [mode, 0o700, 0o600]


def test_a_time_for_all(bench: Bench) -> None:
    make(bench.source, DIR)
    bench.copy("dir", "/x/y", rules=CopyRules(contents=False, time_ns=5_000_000_000))
    bench.run(Mkdir("/m", time_ns=5), Mkfile("/f", b"", time_ns=5), Symlink("/l", "f", time_ns=5))
    for name in ("x", "x/y", "x/y/one", "x/y/sub/two"):
        assert os.lstat(os.path.join(bench.dest, name)).st_mtime == 5
    for name in ("m", "f", "l"):
        assert os.lstat(os.path.join(bench.dest, name)).st_mtime_ns == 5


@pytest.mark.parametrize(
    ("words", "rules", "message"),
    [
        (("dir", "/no/x"), CopyRules(make_dest=False), "there is no directory /no"),
        (("no*", "/x"), CopyRules(allow_empty=False), '"/no.": not found'),
    ],
)
def test_rules_that_fail(
    bench: Bench, words: tuple[str, ...], rules: CopyRules, message: str
) -> None:
    make(bench.source, DIR)
    with pytest.raises(DefinitionError, match=message):
        bench.copy(*words, rules=rules)


def test_wildcards_of_what_is_removed(bench: Bench) -> None:
    make(bench.dest, {"a1": "", "a2/": "", "b": "", "a3": "-> b"})
    bench.run(Rm("/a*", wildcard=True), Rm("/x*", wildcard=True))
    assert tell(bench.dest) == {"b": ""}
    with pytest.raises(DefinitionError, match="no such file"):
        bench.run(Mkdir("/no/x", parents=False))


@pytest.mark.needs("user_xattr")
def test_an_empty_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    """It looks like the placeholder, to the time."""
    bench = Bench(str(tmp_path))
    for folder in (bench.source, bench.dest):
        make(folder, {"b": ""})
        os.utime(f"{folder}/b", (1, 1))
    xattr.set(f"{bench.dest}/b", device.PLACEHOLDER, b"char 1:3")
    bench.copy("b", "/b", chown=ME)
    assert xattr.names(f"{bench.dest}/b") == []
