"""What a COPY names: wildcards, symlinks, --exclude, --parents, ignored files, missing ones."""

import os
from typing import Any

import pytest

from minibuild.errors import DefinitionError
from minibuild.graph.op import Copy
from minibuild.graph.pattern import escape_glob
from minibuild.graph.vertex import IgnoreRules
from tests.fileop.trees import Bench, make, tell

CONTEXT = {
    "a.txt": "a",
    "b.txt": "b",
    "c.md": "c",
    "run.sh": "r",
    "dir/one": "1",
    "dir/sub/two": "2",
    "dir/sub/deep/three": "3",
}
DIR = {"one": "1", "sub": "/", "sub/two": "2", "sub/deep": "/", "sub/deep/three": "3"}


def below(top: str, tree: dict[str, str]) -> dict[str, str]:
    return {top: "/", **{f"{top}/{path}": value for path, value in tree.items()}}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a.txt", "/x"), {"x": "a"}),
        (("/a.txt", "/x"), {"x": "a"}),
        (("./dir/../a.txt", "/x"), {"x": "a"}),
        (("../../a.txt", "/x"), {"x": "a"}),
        (("a.txt", "/x/"), {"x": "/", "x/a.txt": "a"}),
        (("a.txt", "/x/."), {"x": "/", "x/a.txt": "a"}),
        (("a.txt", "/x/../y/./z"), {"y": "/", "y/z": "a"}),
        (("a.txt", "/../../above"), {"above": "a"}),
        (("a.txt", "/"), {"a.txt": "a"}),
        (("a.txt", "b.txt", "/d"), {"d": "b"}),
        (("dir", "a.txt", "/d"), {**below("d", DIR), "d/a.txt": "a"}),
        (("dir", "/out"), below("out", DIR)),
        (("dir/", "/out/"), below("out", DIR)),
        (("dir/sub/deep", "/"), {"three": "3"}),
        (("*.txt", "/s/"), {"s": "/", "s/a.txt": "a", "s/b.txt": "b"}),
        (("?.md", "/s/"), {"s": "/", "s/c.md": "c"}),
        (("[ab].txt", "/s/"), {"s": "/", "s/a.txt": "a", "s/b.txt": "b"}),
        (("[^a].txt", "/s/"), {"s": "/", "s/b.txt": "b"}),
        (("d*/s*/t*", "/s/"), {"s": "/", "s/two": "2"}),
        (("dir/*", "/s/"), below("s", {"one": "1", "two": "2", "deep": "/", "deep/three": "3"})),
        (("c.*", "/single"), {"single": "c"}),
        (("*.nope", "/d/"), {}),
        (("a.txt/*", "/d/"), {}),
        (
            ("*", "/d"),
            {"d": "/"} | below("d", {**DIR, **{k: v for k, v in CONTEXT.items() if "/" not in k}}),
        ),
    ],
)
def test_sources(bench: Bench, words: tuple[str, ...], expected: dict[str, str]) -> None:
    make(bench.source, CONTEXT)
    if words[0] == "*":  # the first file would become the destination: see the next test
        os.mkdir(os.path.join(bench.dest, "d"))
    assert bench.copy(*words) == expected


def test_directory_after_a_file_of_the_same_destination(bench: Bench) -> None:
    make(bench.source, CONTEXT)
    with pytest.raises(DefinitionError, match="cannot copy to non-directory: /d"):
        bench.copy("a.txt", "dir", "/d")


def test_escaped_brackets(bench: Bench) -> None:
    make(bench.source, {"arr[0].txt": "0", "arr0.txt": "x", "a*b": "s"})
    assert bench.copy("arr[[]0].txt", "/one") == {"one": "0"}
    assert bench.copy("a\\**", "/two") == {"one": "0", "two": "s"}


@pytest.mark.parametrize(
    "name", ["*.txt", "a?b", "a.[ch]", "[", "a]b", "a\\b", "a\\*", "^[!]-", "n"]
)
def test_an_escaped_name_is_a_name(bench: Bench, name: str) -> None:
    make(bench.source, {name: "this", "x.txt": "1", "axb": "2", "a.c": "3", "ab": "4", "b": "5"})
    assert bench.copy(escape_glob(name), "/d/") == {"d": "/", f"d/{name}": "this"}


LINKS = {
    "target": "t",
    "d/f": "f",
    "link": "-> target",
    "dlink": "-> d",
    "broken": "-> nowhere",
    "abs": "-> /d/f",
    "esc": "-> ../../../target",
    "d/up": "-> ../target",
    "loop": "-> loop",
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("link", "/s"), {"s": "t"}),
        (("dlink", "/s"), {"s": "/", "s/f": "f", "s/up": "-> ../target"}),
        (("dlink/f", "/s"), {"s": "f"}),
        (("dlink/up", "/s"), {"s": "t"}),
        (("dlink/*", "/s/"), {"s": "/", "s/f": "f", "s/up": "t"}),
        (("li*", "/s/"), {"s": "/", "s/link": "t"}),
        (("abs", "/s"), {"s": "f"}),
        (("esc", "/s"), {"s": "t"}),
        (("d*/f", "/s"), {"s": "f"}),
    ],
)
def test_symlinks_named_are_followed(
    bench: Bench, words: tuple[str, ...], expected: dict[str, str]
) -> None:
    make(bench.source, LINKS)
    assert bench.copy(*words) == expected


def test_symlinks_inside_are_kept(bench: Bench) -> None:
    make(bench.source, LINKS)
    assert bench.copy(".", "/") == tell(bench.source)


@pytest.mark.parametrize(
    ("words", "flags", "expected"),
    [
        (
            (".", "/"),
            {"exclude": ("*.txt",)},
            "c.md dir dir/one dir/sub dir/sub/deep dir/sub/deep/three dir/sub/two run.sh",
        ),
        ((".", "/"), {"exclude": ("dir/sub", "*.sh")}, "a.txt b.txt c.md dir dir/one"),
        (("dir", "/"), {"exclude": ("**/three",)}, "one sub sub/deep sub/two"),
        ((".", "/"), {"exclude": ("*", "!b.txt")}, "b.txt"),
        ((".", "/"), {"exclude": ("dir", "!dir/sub/two", "*.*")}, "dir dir/sub dir/sub/two"),
        (("a.txt", "c.md", "/p/"), {"exclude": ("*.md",)}, "p p/a.txt p/c.md"),
        (("*.*", "/p/"), {"exclude": ("*.md", "b.*")}, "p p/a.txt p/b.txt p/c.md p/run.sh"),
        (
            ("dir/sub/two", "a.txt", "/p/"),
            {"parents": True},
            "p p/a.txt p/dir p/dir/sub p/dir/sub/two",
        ),
        (
            ("./dir/./sub/deep/three", "/q/"),
            {"parents": True},
            "q q/sub q/sub/deep q/sub/deep/three",
        ),
        (("dir/*/t*", "/r"), {"parents": True}, "r r/dir r/dir/sub r/dir/sub/two"),
        (
            ("dir/**/t*", "/r"),
            {"parents": True},
            "r r/dir r/dir/sub r/dir/sub/deep r/dir/sub/deep/three r/dir/sub/two",
        ),
        (("dir/./**/t*", "/r"), {"parents": True}, "r r/sub r/sub/deep r/sub/deep/three r/sub/two"),
        (
            ("dir/sub", "/r"),
            {"parents": True},
            "r r/dir r/dir/sub r/dir/sub/deep r/dir/sub/deep/three r/dir/sub/two",
        ),
        (
            ("dir/sub/.", "/r"),
            {"parents": True, "exclude": ("**/deep",)},
            "r r/dir r/dir/sub r/dir/sub/two",
        ),
        (("d*/./s*/t*", "/r"), {"parents": True}, "r r/sub r/sub/two"),
        (("dir/s*/./**/three", "/r"), {"parents": True}, "r r/deep r/deep/three"),
        (("*.txt/./x", "none*/./x", "/r/"), {"parents": True}, "r r/a.txt r/b.txt"),
        (("a.*/./x", "/r"), {"parents": True}, "r"),
        (("**/./t*", "/r/"), {"parents": True}, "r r/a.txt r/b.txt r/c.md r/run.sh"),
        (("a.txt/./*", "/r/"), {"parents": True}, "r r/a.txt"),
        (("none*/./x", "/r"), {"parents": True}, ""),
        (("nothing*", "/r"), {"parents": True}, "r"),
        (("d*/./nothing", "/r/"), {"parents": True}, "r"),
        (("d*/./nothing", "/r/e"), {"parents": True}, "r r/e"),
        (("d*/./sub", "/r"), {"parents": True, "exclude": ("**",)}, "r"),
    ],
)
def test_exclude_and_parents(
    bench: Bench, words: tuple[str, ...], flags: dict[str, Any], expected: str
) -> None:
    make(bench.source, CONTEXT)
    assert sorted(bench.copy(*words, **flags)) == expected.split()


@pytest.mark.parametrize(
    ("ignore", "words", "expected"),
    [
        (("b.txt", "dir/sub"), ("*.txt", "/"), "a.txt"),
        (("dir/*",), (".", "/"), "a.txt b.txt c.md dir run.sh"),
        (("dir", "!dir/sub/two"), ("dir", "/o"), "o o/sub o/sub/two"),
        (("*", "!dir/sub/deep"), (".", "/"), "dir dir/sub dir/sub/deep dir/sub/deep/three"),
        (("*", "!dir/nothing"), (".", "/"), ""),
        (("*", "!dir/sub/two"), ("d*", "/o/"), "o o/sub o/sub/two"),
        (("*", "!dir/nothing"), ("d*", "/o/"), ""),
        (("dir/sub",), ("dir/s*", "/o/"), ""),
        (
            ("*.txt",),
            ("*", "/o/"),
            "o o/c.md o/one o/run.sh o/sub o/sub/deep o/sub/deep/three o/sub/two",
        ),
    ],
)
def test_ignored_files_do_not_exist(
    bench: Bench, ignore: tuple[str, ...], words: tuple[str, ...], expected: str
) -> None:
    make(bench.source, CONTEXT)
    assert sorted(bench.copy(*words, ignore=ignore)) == expected.split()


@pytest.mark.parametrize(
    ("words", "flags", "path", "hint"),
    [
        (("nothere.txt", "/"), {}, "/nothere.txt", "context has a.txt, b.txt, c.md and 5 more"),
        (("a.text", "/"), {}, "/a.text", "did you mean /a.txt, /b.txt?"),
        (("DIR/one", "/"), {}, "/DIR/one", "did you mean /dir/one?"),
        (("dir/subb/two", "/"), {}, "/dir/subb/two", "did you mean /dir/sub/two?"),
        (("a.txt/x", "/"), {}, "/a.txt/x", "/a.txt is not a directory"),
        (("../Dockerfile", "/d/"), {}, "/Dockerfile", "../Dockerfile is outside the build context"),
        (("nodir/*.txt", "/d/"), {}, "/nodir", "did you mean /dir?"),
        (("dir/sub/none", "/d/"), {}, "/dir/sub/none", "/dir/sub has deep, two"),
        (("secret", "/"), {}, "/secret", "it is excluded by line 4 of .dockerignore: sec*"),
        (("hidden/x", "/"), {}, "/hidden/x", "it is excluded by line 7 of .dockerignore: hidden"),
        (("to-secret", "/"), {}, "/to-secret", "/to-secret (through /secret) is there, but"),
        (("sec-dir", "/"), {}, "/sec-dir", "it is excluded by line 4 of .dockerignore: sec*"),
        (("sec-dir/one", "/"), {}, "/sec-dir/one", "(through /sec-dir) is there, but it is excl"),
        (("sec-dir/*", "/"), {}, "/sec-dir", "it is excluded by line 4 of .dockerignore: sec*"),
        (("to-sec-dir", "/"), {}, "/to-sec-dir", "(through /sec-dir) is there, but it is excl"),
        (("loose", "/"), {}, "/loose", "/loose is a symlink to nowhere, which does not exist"),
        (("lo*e", "/"), {}, "/loose", "/loose is a symlink to nowhere"),
        (
            ("dir/nothere/x", "/y/"),
            {"parents": True},
            "/dir/nothere/x",
            "no /dir/nothere; /dir has",
        ),
        (("c.md", "/y/"), {"parents": True, "exclude": ("*.md",)}, "/c.md", "--exclude leaves"),
        (("a.txt/./b", "/y/"), {"parents": True}, "/a.txt/b", "/a.txt is not a directory"),
        ((".", "/y/"), {"parents": True}, "/", ""),
        (("dir/./", "/y/"), {"parents": True}, "/dir", ""),
    ],
)
def test_what_is_missing_and_why(
    bench: Bench, words: tuple[str, ...], flags: dict[str, object], path: str, hint: str
) -> None:
    extra = {"secret": "s", "hidden/x": "x", "loose": "-> nowhere", "to-secret": "-> secret"}
    extra |= {"sec-dir": "-> dir", "to-sec-dir": "-> sec-dir"}
    make(bench.source, CONTEXT | extra)
    with pytest.raises(DefinitionError) as caught:
        bench.run(
            Copy(0, words[:-1], words[-1], **flags),  # type: ignore[arg-type]
            ignore=("sec*", "hidden"),
            name="context",
            ignored=IgnoreRules(("sec*", "hidden"), ".dockerignore", (4, 7)),
        )
    assert caught.value.message == f'"{path}": not found in the build context'
    assert hint in caught.value.hint


def test_a_circle_of_symlinks(bench: Bench) -> None:
    make(bench.source, LINKS)
    with pytest.raises(DefinitionError, match="cannot copy loop"):
        bench.copy("loop", "/x")
