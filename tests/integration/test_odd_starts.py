"""The program started in odd surroundings: without streams, in an old locale, nowhere; and slips
that are told before a build and not after it."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
GREETING = "grüße 日本"


def shell(cli: Cli, script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The program is "$0" in the script."""
    command = ["sh", "-c", script, cli.program, *arguments]
    return subprocess.run(
        command, env={**cli.environment, **env}, capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(builds: Builds, project: Project, closed: str) -> None:
    """What they would have got goes nowhere: least of all into a file that has their number."""
    context = project({"Dockerfile": "FROM busybox\nRUN echo out; echo err >&2; cat\n"})
    done = shell(builds.cli, f'"$0" build --no-cache -t closed "$1" {closed}', context)
    assert done.returncode == 0, done
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr
    builds.cli("image", "validate", "closed")
    assert builds.cli("run", "closed", "echo", "whole").stdout == "whole\n"


def test_a_dockerfile_from_a_closed_stream(builds: Builds) -> None:
    done = shell(builds.cli, '"$0" build - <&-')
    assert done.returncode == 6 and "the Dockerfile cannot be empty" in done.stderr


def test_a_dockerfile_from_a_stream_of_the_shell(builds: Builds, project: Project) -> None:
    context = project({"file": "x", "Dockerfile": "FROM nowhere\n"})
    text = "printf 'FROM busybox\\nCOPY file /\\n'"
    for script in (f'{text} | "$0" build -q -t app -f /dev/stdin "$1"', f'{text} > "$1/d"; '
                   'exec 5< "$1/d"; "$0" build -q -t app -f /dev/fd/5 "$1"'):  # fmt: skip
        done = shell(builds.cli, script, context)
        assert done.returncode == 0, done
        assert builds.cli("run", "app", "cat", "/file").stdout == "x"
        builds.cli("image", "rm", "app")


def test_a_dockerfile_that_is_no_file(builds: Builds, project: Project) -> None:
    context = project({"sub/file": ""})
    os.mkfifo(f"{context}/Dockerfile")  # nobody writes to it, and nobody waits for that
    done = builds.cli("build", context, code=6)
    assert "is not a regular file" in done.stderr and "hint: " in done.stderr
    done = builds.cli("build", "-f", f"{context}/sub", context, code=6)
    assert "sub is a directory" in done.stderr and "hint: " in done.stderr


def test_a_dockerfile_that_is_a_link_to_nowhere(builds: Builds, project: Project) -> None:
    context = project({})
    os.symlink("gone", f"{context}/Dockerfile")
    done = builds.cli("build", context, code=6)
    assert "hint: it is a link to gone\n" in done.stderr


def test_a_build_without_steps_is_asked_for_one(builds: Builds, project: Project) -> None:
    builds.cli("build", "--no-cache", project({"Dockerfile": "FROM busybox\n"}))
    done = builds.cli("why", "9", code=2)
    assert "hint: it has no steps but its base image" in done.stderr
    assert "the build has no step '²'" in builds.cli("why", "²", code=2).stderr
    assert "²" in builds.cli("why", "^²", code=2).stderr


def test_a_git_server_that_is_not_there(builds: Builds) -> None:
    for scheme in ("git", "http"):
        done = builds.cli("build", f"{scheme}://127.0.0.1:9/app.git", code=4)
        assert "hint: check the address and the network" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", ["image ls", "build -q $1", "build -o - $1", "du", "du --help"])
def test_standard_output_is_full(builds: Builds, project: Project, words: str) -> None:
    context = project({"Dockerfile": "FROM busybox\n"})
    done = shell(builds.cli, f'"$0" {words} >/dev/full', context)
    assert done.returncode == 3, done
    assert "cannot write to standard output: No space left on device" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("progress", ["plain", "tty", "rawjson", "quiet"])
@pytest.mark.parametrize(("last", "code"), [("RUN true", 0), ("RUN exit 3", 5)])
def test_standard_error_is_full(
    builds: Builds, project: Project, progress: str, last: str, code: int
) -> None:
    """The exit code is that of the build, as with docker."""
    context = project({"Dockerfile": f"FROM busybox\n{last}\n"})
    done = shell(builds.cli, f'"$0" build --progress={progress} "$1" 2>/dev/full', context)
    assert done.returncode == code, done


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&1 >/dev/null | true", "2>&-"])
def test_a_command_whose_standard_error_goes_nowhere(
    builds: Builds, project: Project, tmp_path: Path, streams: str
) -> None:
    """Its exit code is its own."""
    builds.cli("build", "-q", "-t", "app", project({"Dockerfile": "FROM busybox\nLABEL a=b\n"}))
    script = "for i in 1 2 3; do echo $i >&2; sleep 0.1; done; exit 7"
    code = tmp_path / "code"
    shell(builds.cli, f'{{ "$0" run app sh -c "$1"; echo $? > {code}; }} {streams}', script)
    assert code.read_text() == "7\n"


@pytest.mark.parametrize("words", ["build -o -", "build -o type=oci,dest=-"])
def test_a_reader_that_has_enough_of_an_archive(
    builds: Builds, project: Project, words: str
) -> None:
    """It ends as programs in C do, by SIGPIPE: with 141 for a shell, and without an error."""
    context = project({"Dockerfile": "FROM busybox\nCOPY big /\n", "big": "x" * (1 << 20)})
    archive = f'{{ "$0" {words} --progress=plain "$1"; echo "code $?" >&2; }} | head -c 1 | wc -c'
    done = shell(builds.cli, archive, context)
    assert done.stdout.strip() == "1"
    assert "code 141" in done.stderr
    assert "CANCELED" in done.stderr and "rror" not in done.stderr, done.stderr
    assert os.listdir(f"{builds.cli.root}/ingest") == []


@pytest.mark.parametrize(
    "env", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_locale_that_is_not_utf8(builds: Builds, project: Project, env: dict[str, str]) -> None:
    """Dockerfiles and file names mean the same, whatever LANG says."""
    dockerfile = f"FROM busybox\nCOPY grüße /\nRUN echo {GREETING} > /said\n"
    context = project({"Dockerfile": dockerfile, "grüße": "file"})
    build = '"$0" build -q -t said "$1" && "$0" run said cat /said "/grüße"'
    done = shell(builds.cli, build, context, **env)
    assert done.returncode == 0, done
    assert done.stdout.endswith(f"{GREETING}\nfile")


def test_a_directory_that_was_removed(builds: Builds, tmp_path: Path) -> None:
    done = shell(
        builds.cli, f'mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir ../gone; "$0" build .'
    )
    assert done.returncode == 2
    assert "error: the current directory was removed\n" in done.stderr


SLIPS = {
    "a tag in capitals": (("-t", "App"), "repository name (library/App) must be lowercase"),
    "a tag with a digest": (("-t", "app@sha256:" + "0" * 64), "a tag cannot contain a digest"),
    "no such folder": (("-o", "type=oci,dest=/no/such/x.tar"), "there is no directory /no/such"),
    "a file as a directory": (
        ("-o", "type=local,dest=/etc/passwd"),
        "/etc/passwd is a file",
    ),
    "a layout in a file": (
        ("-o", "type=oci,tar=false,dest=/etc/passwd"),
        "/etc/passwd is a file",
    ),
    "the second output": (
        ("-o", "type=image", "-o", "type=tar,dest=x,platform-split=x"),
        "platform-split=x is neither true nor false",
    ),
    "nothing to push it as": (("--push",), "an image without a name cannot be pushed"),
    "no folder for the id": (("--iidfile", "/no/such/id"), "there is no directory /no/such"),
    "a folder for the id": (("--iidfile", "/"), "cannot write /: it is a directory"),
    "no folder for metadata": (("--metadata-file", "/no/such/m"), "there is no directory /no/such"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_told_before_the_build(builds: Builds, project: Project, slip: str) -> None:
    flags, says = SLIPS[slip]
    context = project({"Dockerfile": "FROM busybox\nRUN echo much work\n"})
    done = builds.cli("build", *flags, context, code=2, cwd=context)
    assert f"{says}" in done.stderr
    assert "much work" not in done.stderr


def test_numbers_of_five_thousand_digits(builds: Builds, project: Project) -> None:
    """Python refuses to read them, which is no business of who wrote them."""
    number = "9" * 5000
    context = project({"Dockerfile": "FROM busybox\nLABEL a=b\n"})
    builds.cli("build", "-q", "-t", "app", context)
    for words in (
        f"why {number}",
        f"why ^{number}",
        f"builds show ^{number}",
        f"image layer app {number}",
        f"lab learn {number}",
        f"serve --addr tcp://127.0.0.1:{number}",
        f"build --builder tcp://127.0.0.1:{number} {context}",
    ):
        done = builds.cli(*words.split(" "), code=2)
        assert "internal error" not in done.stderr and number[:500] in done.stderr
    done = builds.cli("build", "--build-arg", f"SOURCE_DATE_EPOCH={number}", context, code=6)
    assert "invalid SOURCE_DATE_EPOCH" in done.stderr
    first = f"# syntax=docker/dockerfile:1.{number}\nFROM busybox\n"
    builds.cli("build", project({"Dockerfile": first}))
