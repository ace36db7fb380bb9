"""From a Dockerfile to an image, the whole way."""

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]


class Case(NamedTuple):
    """A build: what is in the context, and the files (path: text) that the image has or lacks."""

    dockerfile: str
    files: Mapping[str, str] = {}
    flags: tuple[str, ...] = ()
    has: Mapping[str, str] = {}
    lacks: tuple[str, ...] = ()


CASES = {
    "run and copy": Case(
        "FROM busybox\nCOPY a.txt /in/\nRUN cat /in/a.txt > /out && rm /in/a.txt\n",
        {"a.txt": "hello"},
        has={"out": "hello"},
        lacks=("in/a.txt",),
    ),
    "only the stages that are needed": Case(
        "FROM busybox AS broken\nRUN exit 1\n"
        "FROM busybox AS build\nRUN echo made > /made\n"
        "FROM scratch\nCOPY --from=build /made /\n",
        has={"made": "made\n"},
        lacks=("bin/busybox",),
    ),
    "a target": Case(
        "FROM busybox AS first\nRUN echo 1 > /n\nFROM first\nRUN exit 1\n",
        flags=("--target=first",),
        has={"n": "1\n"},
    ),
    "arguments and environment": Case(
        "FROM busybox\nARG WHO=nobody\nENV GREETING=hello HTTP_PROXY=env FTP_PROXY=env\n"
        'RUN echo "$GREETING $WHO" > /greeting; echo $HTTP_PROXY $FTP_PROXY > /proxies\n',
        flags=("--build-arg=WHO=world", "--build-arg=http_proxy=given", "--build-arg=ftp_proxy="),
        has={"greeting": "hello world\n", "proxies": "given env\n"},
    ),
    "independent links, deletions between them": Case(
        "FROM busybox\nCOPY --link a /d/a\nRUN rm /d/a && echo b > /d/b\n"
        "COPY --link c /d/c\nRUN ls /d > /listing\n",
        {"a": "a", "c": "c"},
        has={"listing": "b\nc\n", "d/b": "b\n", "d/c": "c"},
        lacks=("d/a",),
    ),
    "a device made under another root": Case(
        "FROM busybox\nRUN mkdir -p /c/bin && cp /bin/busybox /c/bin && "
        "chroot /c /bin/busybox mknod /n c 1 3\nRUN test -c /c/n && echo yes > /seen\n",
        has={"seen": "yes\n"},
    ),
    "a user with groups and a home": Case(
        "FROM busybox\nRUN echo app:x:7:8::/tmp:/bin/sh >> /etc/passwd && "
        "echo extra:x:9:app >> /etc/group\n"
        "USER app\nRUN id -u > /tmp/id; id -G >> /tmp/id; echo $HOME >> /tmp/id\n",
        has={"tmp/id": "7\n8 9\n/tmp\n"},
    ),
    "a named context": Case(
        "FROM busybox\nCOPY --from=other x /x\n",
        flags=("--build-context=other={context}/named",),
        files={"named/x": "named"},
        has={"x": "named"},
    ),
    "what is ignored is not copied": Case(
        "FROM scratch\nCOPY . /\n",
        {".dockerignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": "kept", "b": "b"},
        has={"keep.log": "kept", "b": "b"},
        lacks=("a.log",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_files_of_the_image(name: str, builds: Builds, project: Project) -> None:
    """Each case as the image's layers add up, read without minibuild."""
    case = CASES[name]
    if "groups" in name and os.geteuid() and not has_ids():
        pytest.skip("one id only: a step cannot become another user")
    context = project({"Dockerfile": case.dockerfile, **case.files})
    image = builds.image(context, *(flag.format(context=context) for flag in case.flags))
    assert {path: image.text(path) for path in case.has} == case.has
    assert not [path for path in case.lacks if path in image.files]


def has_ids() -> bool:
    """Whether there are ids for users inside images."""
    from tests.support.probes import able

    return able("subids")


def test_pull_request_4516(builds: Builds) -> None:
    """Both files are gone, no layer mentions what a merge would have lost, file3 is linked."""
    image = builds.image(str(CHECKOUT / "testdata/whiteout-hardlink"))
    assert {"file1", "file2", "file3"} & image.files.keys() == {"file3"}
    names = [[n for n in layer if n not in ("dev", "proc", "sys")] for layer in image.layers[1:]]
    assert names == [["file2"], ["file1"], [".wh.file1", ".wh.file2"], ["file3"], []][: len(names)]


def test_many_steps(builds: Builds, project: Project) -> None:
    """More layers than one page of mount options takes, and than overlay takes in one mount."""
    steps = "".join(f"RUN echo {n} > /n{n}\n" for n in range(129))
    context = project({"Dockerfile": f"FROM busybox\n{steps}RUN cat /n* | wc -l > /count\n"})
    image = builds.image(context)
    assert image.text("count").strip() == "129"
    assert len(image.layers) == 131


def test_equal_builds_give_equal_images(builds: Builds, project: Project) -> None:
    """The second from the cache, and a new context with the same contents as well."""
    files = {"Dockerfile": "FROM busybox\nCOPY a /a\nRUN wc /a > /b\n", "a": "text"}
    first = builds.image(project(files))
    second = builds.image(project(files))
    assert first == second


def test_a_failed_step_shows_its_line(builds: Builds, project: Project) -> None:
    """The lines around it, a marker, the cause, its last output, and the code of its process."""
    context = project(
        {"Dockerfile": 'FROM busybox\nENV A=1\nRUN <<E\necho "last words"\nexit 42\nE\nRUN true\n'}
    )
    done = builds.cli("build", "--progress=plain", context, code=5)
    assert "Dockerfile:3" in done.stderr
    assert ">>> exit 42" in done.stderr
    assert re.search("(?m)^#[0-9]+ [0-9.]+ last words$", done.stderr)
    says = (
        r'error: process "/bin/sh -c echo \"last words\"\nexit 42\n" did not complete successfully'
    )
    assert f"{says}: exit code: 42\n" in done.stderr


@pytest.mark.parametrize(
    ("dockerfile", "code", "words"),
    [
        ("FRM busybox\n", 6, ("Dockerfile:1", "FROM")),
        ("FROM busybox\nCOPY nothing /\n", 6, ("Dockerfile:2", "nothing")),
        ("FROM busybox\nRUN --mount=type=cach true\n", 6, ("Dockerfile:2", "cache")),
        ("FROM busybox AS a\nFROM b\n", 4, ("Dockerfile:2",)),
    ],
    ids=["unknown instruction", "missing source", "unknown mount", "unknown image"],
)
def test_errors_have_codes(
    builds: Builds, project: Project, dockerfile: str, code: int, words: tuple[str, ...]
) -> None:
    """By kind, so that scripts can tell them apart; nothing is left in the making."""
    done = builds.cli("build", project({"Dockerfile": dockerfile}), code=code)
    assert [word for word in words if word not in done.stderr] == []
    assert builds.leftovers() == []


def test_files_for_scripts(builds: Builds, project: Project) -> None:
    """--iidfile, --metadata-file and --quiet."""
    import json

    context = project({"Dockerfile": "FROM busybox\nCMD date\n"})
    done = builds.cli(
        *("build", "-q", f"--iidfile={context}/id", f"--metadata-file={context}/meta", context)
    )
    with open(f"{context}/id") as id_file, open(f"{context}/meta") as meta_file:
        image_id, metadata = id_file.read(), json.load(meta_file)
    assert done.stdout.strip() == image_id == metadata["containerimage.config.digest"]
    assert metadata["containerimage.digest"].startswith("sha256:")


def test_the_store_is_a_layout(builds: Builds) -> None:
    """Other tools read images right where they are."""
    from tests.support.images import read_image

    builds.cli("build", "-t", "demo:1", str(CHECKOUT / "testdata/whiteout-hardlink"))
    found = read_image(builds.cli.root, "docker.io/library/demo:1")
    assert "file3" in found.files


def test_run_in_an_image(builds: Builds) -> None:
    """A fresh writable view: what is written is gone the next time; the exit code comes through."""
    builds.cli("build", "-t", "demo", str(CHECKOUT / "testdata/whiteout-hardlink"))
    listed = builds.cli("run", "demo", "ls", "/")
    assert {"file1", "file2", "file3"} & set(listed.stdout.split()) == {"file3"}
    builds.cli("run", "demo", "touch", "/file1")
    builds.cli("run", "demo", "test", "-e", "/file1", code=1)
    builds.cli("run", "demo", "sh", "-c", "exit 7", code=7)
