"""Contexts of all kinds, whole builds: archives, standard input, git, the web; named ones."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.webserver import WebServer, serving

pytestmark = pytest.mark.integration

FILES = {
    "Dockerfile": "FROM scratch\nCOPY . /\n",
    "a": "a\n",
    "b.log": "no\n",
    "sub/s": "s\n",
    "sub/Dockerfile": "FROM scratch\nCOPY s /here\n",
    ".dockerignore": "*.log\nDockerfile\n.dockerignore\n",
}
COPIED = {"a", "sub/s", "sub/Dockerfile"}


def tarred(files: Mapping[str, str], mode: str = "w") -> bytes:
    """The files as an archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    """The data compressed as zstd."""
    import zstandard

    return zstandard.compress(data)


class Built:
    """Builds to a directory and says which files came out."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.out = cli, folder / "out"
        self.count = 0

    def __call__(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> str:
        self.count += 1
        dest = f"{self.out}{self.count}"
        done = subprocess.run(
            [self.cli.program, "build", "--progress=plain", f"--output={dest}", *arguments],
            input=stdin,
            capture_output=True,
            env={**self.cli.environment, "MINIBUILD_ROOT": self.cli.root},
            timeout=60,
        )
        said = done.stderr.decode()
        assert done.returncode == code, said
        assert "Traceback" not in said
        return said

    @property
    def files(self) -> set[str]:
        """What the last build wrote."""
        top = f"{self.out}{self.count}"
        return {
            os.path.relpath(os.path.join(folder, name), top)
            for folder, _, names in os.walk(top)
            for name in names
        }

    def text(self, name: str) -> str:
        """A file that the last build wrote."""
        return Path(f"{self.out}{self.count}", name).read_text()


@pytest.fixture
def build(cli: Cli, tmp_path: Path) -> Built:
    """`build(...)` builds; `build.files` are the files that came out."""
    return Built(cli, tmp_path)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server on loopback."""
    with serving() as server:
        yield server


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


# --- git ----------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    """Run git in a repository, as nobody in particular."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": "2020-01-02T03:04:05Z",
        "GIT_COMMITTER_DATE": "2020-01-02T03:04:05Z",
    }
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, web: WebServer) -> tuple[Path, str]:
    """A repository with a branch `main`, a tag `v1`, and its address."""
    folder = tmp_path / "repo.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "-a", "-m", "first", "v1")
    (folder / "later").write_text("later\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "two")
    return folder, web.git("/repo.git", folder)


@pytest.mark.needs("mount", "git")
def test_a_repository(build: Built, repository: tuple[Path, str]) -> None:
    folder, url = repository
    (folder / ".git/config").open("a").write("[uploadpack]\nallowAnySHA1InWant = true\n")
    build(url)
    assert build.files == COPIED | {"later"}
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
    for reference in (f"?commit={first}", f"?commit={first[:9]}", f"?tag=v1&commit={first[:9]}"):
        build(url + reference)
        assert build.files == COPIED, reference
    tag = git(folder, "rev-parse", "v1")
    build(f"{url}?tag=v1&checksum={tag}")
    said = build(f"{url}?tag=v1&commit={git(folder, 'rev-parse', 'main')}", code=6)
    assert f"got {first} or {tag}" in said
    assert "does not contain ref abcdef9" in build(url + "?commit=abcdef9", code=6)
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
    build(f"{url}?commit={second[:7]}")
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
            (f"?commit={second[:9]}", "two"),
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
    for path in list(web.files):
        web.files[path.replace("/plain/", "/plain.git/")] = web.files[path]
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
    add("--keep-git-dir", f"{url}#main")
    assert "r/.git/HEAD" in build.files
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


# --- named contexts -----------------------------------------------------------------------------


@pytest.mark.needs("mount", "git")
def test_named_contexts(
    build: Built, repository: tuple[Path, str], web: WebServer, tmp_path: Path
) -> None:
    _, git_url = repository
    local = tmp_path / "local"
    local.mkdir()
    (local / "a").write_text("local\n")
    archive = web.put("/x.tar", tarred({"a": "archive\n"}))
    single = web.put("/a", b"single\n")
    text = b"FROM base AS one\nFROM scratch\nCOPY --from=one /a /1\nCOPY --from=two /a /2\n"
    for value, expected in (
        (str(local), "local\n"),
        (git_url, "a\n"),
        (archive, "archive\n"),
        (single, "single\n"),
    ):
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
