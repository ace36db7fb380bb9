"""Contexts of all kinds, whole builds: archives, standard input, the web; named ones."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.integration.built import COPIED, FILES, Built, tarred, zstd
from tests.support.webserver import WebServer

pytestmark = pytest.mark.integration


@pytest.mark.needs("mount")
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zstd"])
def test_an_archive_on_standard_input(build: Built, mode: str) -> None:
    data = zstd(tarred(FILES)) if mode == "zstd" else tarred(FILES, mode)
    build("-", stdin=data)
    assert build.files == COPIED
    said = build("-f", "sub/Dockerfile", "-", stdin=data, code=6)
    assert '"/s": not found' in said


@pytest.mark.needs("mount")
def test_a_dockerfile_on_standard_input(build: Built, tmp_path: Path) -> None:
    build("-", stdin=b"FROM scratch\nCOPY <<E /x\nhi\nE\n")
    assert build.files == {"x"}
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx/a").write_text("a")
    build("-f", "-", str(tmp_path / "ctx"), stdin=b"FROM scratch\nCOPY a /b\n")
    assert build.files == {"b"}
    said = build("-f", "x", "-", stdin=b"FROM scratch\n", code=2)
    assert "standard input has to be the context" in said


@pytest.mark.needs("mount")
def test_an_archive_by_its_path(build: Built, tmp_path: Path) -> None:
    (tmp_path / "context.tgz").write_bytes(tarred(FILES, "w:gz"))
    build(str(tmp_path / "context.tgz"))
    assert build.files == COPIED
    said = build("-f", "none", str(tmp_path / "context.tgz"), code=6)
    assert "there is no none in the build context" in said
    assert "Dockerfile" in said  # what is there


@pytest.mark.needs("mount")
def test_the_line_that_left_out_a_file_of_an_archive(build: Built) -> None:
    files = {**FILES, "Dockerfile": "FROM scratch\nCOPY b.log /\n"}
    said = build("-", stdin=tarred(files), code=6)
    assert "hint: /b.log is excluded by line 1 of .dockerignore: *.log" in said


@pytest.mark.needs("mount")
def test_a_pattern_that_means_nothing_is_shown(build: Built, tmp_path: Path) -> None:
    files = {**FILES, ".dockerignore": "*.log\n! \n"}
    said = build("-", stdin=tarred(files), code=6)
    assert ".dockerignore:2\n" in said and "   2 | >>> !" in said
    assert 'illegal exclusion pattern: "!"' in said
    (tmp_path / "Dockerfile").write_text(FILES["Dockerfile"])
    (tmp_path / "Dockerfile.dockerignore").write_text("!")
    said = build(str(tmp_path), code=6)
    assert "Dockerfile.dockerignore:1\n" in said
    (tmp_path / "Dockerfile.dockerignore").write_text("# logs\n*.log\n[a-\n")
    said = build(str(tmp_path), code=6)
    assert "   3 | >>> [a-" in said and "syntax error in pattern: [a-" in said


@pytest.mark.needs("mount")
def test_an_own_ignore_file_wins(build: Built) -> None:
    files = {**FILES, "Dockerfile.dockerignore": "sub\n*Dockerfile*\n.dockerignore\n"}
    build("-", stdin=tarred(files))
    assert build.files == {"a", "b.log"}


def hostile(*members: tuple[str, bytes, str]) -> bytes:
    """A tar with a Dockerfile and the members (name, type, link)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        text = b"FROM scratch\nCOPY . /\n"
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            if kind == tarfile.REGTYPE:
                member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    return out.getvalue()


@pytest.mark.needs("mount")
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil"])
def test_names_with_dots_stay_inside(build: Built, name: str) -> None:
    build("-", stdin=hostile((name, tarfile.REGTYPE, "")))
    assert build.files == {"Dockerfile", "evil"}


@pytest.mark.needs("mount")
def test_links_and_absolute_names_stay_inside(build: Built, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = hostile(
        ("link", tarfile.SYMTYPE, str(outside)),
        ("link/evil", tarfile.REGTYPE, ""),
        (f"{outside}/evil2", tarfile.REGTYPE, ""),
        ("passwd", tarfile.SYMTYPE, "/etc/passwd"),
    )
    build("-", stdin=data)
    assert not list(outside.iterdir())
    inside = f"{outside}".lstrip("/")
    assert {f"{inside}/evil", f"{inside}/evil2"} <= build.files


@pytest.mark.needs("mount")
def test_a_dockerfile_that_is_a_link_to_the_host(build: Built) -> None:
    data = hostile(("Dockerfile", tarfile.SYMTYPE, "/etc/passwd"))
    assert "there is no Dockerfile" in build("-", stdin=data, code=6)


@pytest.mark.needs("mount")
def test_an_archive_that_is_broken(build: Built) -> None:
    data = tarred({**FILES, "big": "x" * 100_000})
    said = build("-", stdin=data[:30_000], code=7)
    assert "ends in the middle" in said


# --- the web ------------------------------------------------------------------------------------


@pytest.mark.needs("mount")
def test_an_archive_from_the_web(build: Built, web: WebServer) -> None:
    url = web.put("/releases/context.tar.gz", tarred(FILES, "w:gz"), etag='"1"')
    build(url)
    assert build.files == COPIED
    build(url)
    assert build.files == COPIED
    assert [status for _, status in web.seen] == [200, 304]


@pytest.mark.needs("mount")
def test_a_dockerfile_from_the_web(build: Built, web: WebServer) -> None:
    build(web.put("/some.Dockerfile", b"FROM scratch\nCOPY <<E /x\nhi\nE\n"))
    assert build.files == {"x"}


@pytest.mark.needs("mount")
def test_a_dockerfile_from_the_web_for_another_context(
    build: Built, web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx/a").write_text("a")
    url = web.put("/shared/Dockerfile.app", b"FROM scratch\nCOPY a /b\n")
    build("-f", url, str(tmp_path / "ctx"))
    assert build.files == {"b"}
    build("-f", url, "-", stdin=tarred({"a": "a"}))
    assert build.files == {"b"}
    said = build("-f", web.put("/wrong", b"FROM scratch\nRUNN\n"), str(tmp_path / "ctx"), code=6)
    assert "2 | >>> RUNN" in said
    said = build("-f", web.url("/none"), str(tmp_path / "ctx"), code=4)
    assert "cannot fetch http" in said and "status 404" in said


@pytest.mark.needs("mount")
def test_what_the_web_does_not_have(build: Built, web: WebServer) -> None:
    said = build(web.url("/none.tar"), code=4)
    assert "404" in said
    assert "Dockerfile:1" not in said


# --- named contexts -----------------------------------------------------------------------------


@pytest.mark.needs("mount", "git")
def test_named_contexts(
    build: Built, repository: tuple[Path, str], web: WebServer, tmp_path: Path
) -> None:
    _, git_url = repository
    local = tmp_path / "local"
    local.mkdir()
    (local / "a").write_text("local\n")
    # What comes from the web is one file that is called `context`, also if it is an archive.
    archive = tarred({"a": "archive\n"})
    for value, name, expected in (
        (str(local), "a", "local\n"),
        (git_url, "a", "a\n"),
        (web.put("/x.tar", archive), "context", archive.decode()),
        (web.put("/a", b"single\n"), "context", "single\n"),
    ):
        copies = f"COPY --from=one /{name} /1\nCOPY --from=two /{name} /2\n"
        text = f"FROM base AS one\nFROM scratch\n{copies}".encode()
        build(f"--build-context=base={value}", f"--build-context=two={value}", "-", stdin=text)
        assert (build.text("1"), build.text("2")) == (expected, expected), value
    said = build("--build-context=base=target:x", "-", stdin=text, code=2)
    assert "bake" in said


@pytest.mark.needs("mount")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM base\n", {"old", "d/e"}),
        ("FROM base\nCOPY new /\n", {"old", "d/e", "new"}),
        ("FROM base\nCOPY --link new /d/\n", {"old", "d/e", "d/new"}),
        ("FROM base AS x\nFROM x\nCOPY new /\n", {"old", "d/e", "new"}),
        ("FROM scratch AS base\nCOPY new /no\n", {"old", "d/e"}),
        ("FROM scratch AS base\nFROM base\nWORKDIR /w\nCOPY new .\n", {"old", "d/e", "w/new"}),
        ("FROM scratch AS base\nFROM scratch\nCOPY --from=base /d /\n", {"e"}),
    ],
)
def test_stages_that_stand_on_a_directory(
    build: Built, tmp_path: Path, text: str, expected: set[str]
) -> None:
    """It is copied: what the stage adds is not in the directory, nor what the ignore file names."""
    base, context = tmp_path / "base", tmp_path / "context"
    (base / "d").mkdir(parents=True)
    context.mkdir()
    for file in (base / "old", base / "d/e", base / "x.log", context / "new"):
        file.write_text("")
    (base / ".dockerignore").write_text("*.log\n.dockerignore\n")
    (context / "Dockerfile").write_text(text)
    build(f"--build-context=base={base}", str(context))
    assert build.files == expected
    assert sorted(os.listdir(base)) == [".dockerignore", "d", "old", "x.log"]
    assert os.listdir(base / "d") == ["e"]
    build.cli("build", "-t", "a", f"--build-context=base={base}", str(context))
    build.cli("image", "validate", "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM scratch\nCOPY --from=base d /\n", {"e"}),
        ("FROM base\nCOPY new /\n", {"d/e", "old", "new"}),
        ('FROM scratch\nCOPY new /\nRUN --mount=from=base,target=/b ["/x"]\n', set()),
    ],
)
def test_an_archive_as_a_named_context(
    build: Built, tmp_path: Path, text: str, expected: set[str]
) -> None:
    """It is what is in it; a file that is no archive is refused."""
    base, context = tmp_path / "base", tmp_path / "context"
    (base / "d").mkdir(parents=True)
    context.mkdir()
    for file in (base / "old", base / "d/e", context / "new"):
        file.write_text("")
    (context / "Dockerfile").write_text(text)
    with tarfile.open(tmp_path / "base.tar.gz", "w:gz") as tar:
        tar.add(base, ".")
    asked = f"--build-context=base={tmp_path}/base.tar.gz"
    if expected:
        build(asked, str(context))
        assert build.files == expected
    assert "COPY" in build.cli("build", "--call=graph", asked, str(context)).stdout
    (tmp_path / "base.tar.gz").write_text("text")
    assert "is not a directory" in build.cli("build", asked, str(context), code=2).stderr
