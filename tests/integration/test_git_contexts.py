"""Contexts that are git repositories: references, commits, submodules, credentials; ADD."""

import os
from pathlib import Path

import pytest

from tests.integration.built import COPIED, Built, git
from tests.support.webserver import WebServer

pytestmark = pytest.mark.integration


@pytest.mark.needs("mount", "git")
def test_a_repository(build: Built, repository: tuple[Path, str]) -> None:
    folder, url = repository
    (folder / ".git/config").open("a").write("[uploadpack]\nallowAnySHA1InWant = true\n")
    build(url, "--provenance=complete-materials=true")
    assert build.files == COPIED | {"later", "provenance.json"}
    for reference in (
        "#v1",
        "#refs/tags/v1",
        "?tag=v1",
        "?ref=v1",
        "#" + git(folder, "rev-parse", "v1^{}"),
    ):
        build(url + reference)
        assert build.files == COPIED, reference
    for reference in ("#main:sub", "#:sub", "?subdir=sub", "?branch=main&subdir=sub"):
        build(url + reference)
        assert build.files == {"here"}, reference
    first = git(folder, "rev-parse", "v1^{}")
    main = git(folder, "rev-parse", "main")
    for reference, files in (
        (f"?tag=v1&commit={first[:9]}", COPIED),
        (f"?commit={main}", COPIED | {"later"}),
        (f"?commit={main[:9]}", COPIED | {"later"}),
        (f"?commit={first}&fetch-by-commit=1", COPIED),
    ):
        build(url + reference)
        assert build.files == files, reference
    for start in (first, first[:9]):  # It is not what HEAD is.
        said = build(f"{url}?commit={start}", code=6)
        assert f"expected checksum to match {start}, got {main}" in said
    tag = git(folder, "rev-parse", "v1")
    build(f"{url}?tag=v1&checksum={tag}")
    said = build(f"{url}?tag=v1&commit={git(folder, 'rev-parse', 'main')}", code=6)
    assert f"got {first} or {tag}" in said
    assert "does not contain ref abcdef9" in build(url + "?ref=abcdef9", code=6)
    assert "invalid checksum nothex" in build(url + "?commit=nothex", code=6)
    assert "does not contain ref none" in build(url + "#none", code=6)
    assert "subdirectory nosuch of http" in build(url + "#main:nosuch", code=6)


@pytest.mark.needs("mount", "git")
def test_a_commit_that_no_name_leads_to(build: Built, repository: tuple[Path, str]) -> None:
    folder, url = repository
    (folder / "third").write_text("third\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "three")
    second = git(folder, "rev-parse", "main^")
    build(f"{url}?commit={second}&fetch-by-commit=1")
    assert build.files == COPIED | {"later"}


@pytest.mark.needs("mount", "git")
def test_a_repository_with_long_hashes(build: Built, web: WebServer, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", "--object-format=sha256")
    for text in ("one", "two", "three"):
        (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /{text}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", text)
    git(folder, "tag", "old", "main~2")
    git(folder, "update-server-info")
    for path in (folder / ".git").rglob("*"):
        if path.is_file():
            web.put(f"/plain.git/{path.relative_to(folder / '.git')}", path.read_bytes())
    second = git(folder, "rev-parse", "main^")
    assert len(second) == 64
    for url in (web.git("/long.git", folder), web.url("/plain.git")):
        for reference, name in (  # --filter would send git into a circle at the plain one
            ("", "three"),
            ("#old", "one"),
            (f"#{second}", "two"),
            (f"?commit={second}&fetch-by-commit=1", "two"),
        ):
            build(url + reference)
            assert build.files == {name}, url + reference


@pytest.mark.needs("mount", "git")
def test_names_of_references_are_whole(build: Built, repository: tuple[Path, str]) -> None:
    folder, url = repository
    git(folder, "branch", "feature/x", "v1^{}")
    assert "does not contain ref x" in build(url + "#x", code=6), "refs/heads/feature/x is another"
    git(folder, "branch", "both", "v1^{}")
    git(folder, "tag", "both", "main")
    for reference, expected in (
        ("#both", COPIED),
        ("#heads/both", COPIED),
        ("?tag=both", COPIED | {"later"}),
        ("#tags/both", COPIED | {"later"}),
        ("#feature/x", COPIED),
        ("#HEAD", COPIED | {"later"}),
    ):
        build(url + reference)
        assert build.files == expected, reference


@pytest.mark.needs("mount", "git")
def test_submodules_come_without_the_way_to_their_repository(
    build: Built, repository: tuple[Path, str], web: WebServer, tmp_path: Path
) -> None:
    _, part = repository
    whole = tmp_path / "whole.git"
    whole.mkdir()
    git(whole, "init", "-q", "-b", "main")
    (whole / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    git(whole, "submodule", "add", "-q", part, "part")
    git(whole, "add", ".")
    git(whole, "commit", "-qm", "one")
    url = web.git("/whole.git", whole)
    build(url)
    assert {"part/later", ".gitmodules"} < build.files
    assert "part/.git" not in build.files
    build(f"{url}?submodules=false")
    assert not any(name.startswith("part/") for name in build.files)
    build("--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", url)
    assert "part/.git" in build.files


@pytest.mark.needs("mount", "git")
def test_a_repository_on_a_plain_file_server(
    build: Built, repository: tuple[Path, str], web: WebServer
) -> None:
    folder, _ = repository
    git(folder, "update-server-info")
    for path in (folder / ".git").rglob("*"):
        if path.is_file():
            web.put(f"/plain/{path.relative_to(folder / '.git')}", path.read_bytes())
    for reference in ("", "#v1", "#" + git(folder, "rev-parse", "v1^{}")):
        said = build(web.url("/plain") + ".git" + reference, code=4)
        assert "failed to fetch" in said, "there is no repository of that name"
    for served in list(web.files):
        web.files[served.replace("/plain/", "/plain.git/")] = web.files[served]
    build(web.url("/plain.git"))
    assert build.files == COPIED | {"later"}
    for reference in ("#v1", "#" + git(folder, "rev-parse", "v1^{}")):
        said = build(web.url("/plain.git") + reference)
        assert build.files == COPIED, reference
        assert "fatal" not in said


@pytest.mark.needs("mount", "git")
def test_the_time_of_a_source(
    build: Built, repository: tuple[Path, str], web: WebServer, tmp_path: Path
) -> None:
    folder, url = repository
    text = "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY <<E /t\n$SOURCE_DATE_EPOCH\nE\n"
    (folder / "Dockerfile").write_text(text)
    git(folder, "commit", "-qam", "three")
    committed = git(folder, "log", "-1", "--format=%ct")

    def time_of(*arguments: str) -> str:
        build(*arguments)
        return Path(f"{build.out}{build.count}/t").read_text().strip()

    asked = "--build-arg=SOURCE_DATE_EPOCH="
    assert time_of(asked + "context", url) == committed
    assert time_of(asked + "context", str(folder)) == "", "a folder has no time"
    lib = f"--build-context=lib={url}"
    assert time_of(asked + "lib", lib, str(folder)) == committed
    web.put("/x", b"x", modified="Thu, 01 Jan 2015 00:00:00 GMT")
    (folder / "D").write_text(
        f"ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {web.url('/x')} /\n{text}"
    )
    assert time_of("-f", str(folder / "D"), str(folder)) == "1420070400"
    said = build(asked + "nothing", str(folder), code=6)
    assert "invalid SOURCE_DATE_EPOCH: nothing" in said


@pytest.mark.needs("mount", "git")
def test_a_reference_is_no_option(build: Built, web: WebServer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    url = f"http://127.0.0.1:{web.port}/x.git#--upload-pack=touch {victim}"
    assert "invalid git address or reference" in build(url, code=6)
    assert not victim.exists()


@pytest.mark.needs("mount", "git")
@pytest.mark.parametrize(
    ("secret", "value", "sent"),
    [
        ("GIT_AUTH_TOKEN", "t", "Basic eC1hY2Nlc3MtdG9rZW46dA=="),
        ("GIT_AUTH_TOKEN.127.0.0.1", "t", "Basic eC1hY2Nlc3MtdG9rZW46dA=="),
        ("GIT_AUTH_HEADER", "Bearer b", "Bearer b"),
        ("GIT_AUTH_TOKEN.127.0.0.1:PORT", "t", "Basic eC1hY2Nlc3MtdG9rZW46dA=="),
        ("GIT_AUTH_TOKEN.127.0.0.1:1", "t", None),
        ("GIT_AUTH_TOKEN.example.org", "t", None),
    ],
)
def test_what_authorises_git(
    build: Built,
    repository: tuple[Path, str],
    web: WebServer,
    tmp_path: Path,
    secret: str,
    value: str,
    sent: str | None,
) -> None:
    (tmp_path / "value").write_text(value)
    secret = secret.replace("PORT", str(web.port))
    said = build(f"--secret=id={secret},src={tmp_path}/value", repository[1])
    assert {headers.get("Authorization") for headers in web.headers} == {sent}
    assert value not in said.split()


@pytest.mark.needs("mount", "git")
def test_credentials_in_an_address_are_sent_and_not_told(
    build: Built, repository: tuple[Path, str], web: WebServer
) -> None:
    _, url = repository
    with_token = url.replace("http://", "http://me:t0psecret@")
    said = build(f"{with_token}?keep-git-dir=1")
    assert {headers.get("Authorization") for headers in web.headers} == {"Basic bWU6dDBwc2VjcmV0"}
    assert "t0psecret" not in said
    assert url in build.text(".git/config"), "it is in the image"
    for file in build.files:
        assert "t0psecret" not in Path(f"{build.out}{build.count}", file).read_text("latin-1")
    assert "t0psecret" not in build(with_token + "#none", code=6)
    text = f"FROM scratch\nADD {with_token.replace('.git', '.txt')} /\n".encode()
    said = build("-", stdin=text, code=4)
    assert "t0psecret" not in "".join(said.split(text.decode()[13:-1]))


@pytest.mark.needs("mount", "git")
def test_the_folder_of_git(build: Built, repository: tuple[Path, str]) -> None:
    _, url = repository
    build("--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", url)
    assert ".git/HEAD" in build.files
    said = build("--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=maybe", url, code=6)
    assert "invalid boolean value for BUILDKIT_CONTEXT_KEEP_GIT_DIR: maybe" in said


@pytest.mark.needs("mount", "git")
def test_add_of_a_repository(build: Built, repository: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = repository
    commit = git(folder, "rev-parse", "main")
    old = git(folder, "rev-parse", "v1^{}")

    def add(flags: str, source: str, code: int = 0) -> str:
        text = f"FROM scratch\nADD {flags} {source} /r/\n"
        return build("-", stdin=text.encode(), code=code)

    # Times take no part in keys, so this comes before the same files with other times.
    add("", f"{url}?ref=main&mtime=commit&subdir=sub")
    assert os.stat(f"{build.out}{build.count}/r/s").st_mtime == 1577934245
    add("", f"{url}#main:sub")
    assert build.files == {"r/s", "r/Dockerfile"}
    for source, name in ((url, "heads/main"), (f"{url}#v1", "tags/v1")):
        add("--keep-git-dir", source)
        assert {"r/.git/HEAD", f"r/.git/refs/{name}"} <= build.files, "git can tell its name"
        assert "r/.git/FETCH_HEAD" not in build.files
    add("", f"{url}?ref=main&keep-git-dir=1")
    assert "r/.git/HEAD" in build.files
    add(f"--checksum={commit[:12]}", f"{url}#main")
    assert "r/later" in build.files
    said = add(f"--checksum={old}", f"{url}#main", code=6)
    assert f"expected checksum to match {old}, got {commit}" in said
    said = add("--checksum=latest", f"{url}#main", code=6)
    assert "invalid checksum latest for Git URL, expected hex commit hash" in said
    assert "Dockerfile:2" in said
    add("", f"{url}?ref=main&commit={old}&fetch-by-commit=1")
    assert "r/later" not in build.files
    said = add("", f"{url}?ref=main&fetch-by-commit=1", code=6)
    assert "needs a whole hash" in said


@pytest.mark.needs("mount", "git")
def test_half_an_address_is_an_error(build: Built) -> None:
    assert "failed to fetch git://[::1/x.git" in build("git://[::1/x.git", code=4)
