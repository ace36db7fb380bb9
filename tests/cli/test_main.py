"""The program as a whole: commands, exit codes, and what happens when it is at fault."""

import errno
import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minibuild.cli import catalogue, main
from minibuild.cli.command import Command, Session
from minibuild.cli.main import entry
from minibuild.errors import HostError
from minibuild.progress.console import Console
from minibuild.session.environment import read_environment


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own for each test."""
    monkeypatch.setenv("MINIBUILD_ROOT", str(tmp_path / "root"))
    monkeypatch.delenv("BUILDKIT_PROGRESS", raising=False)
    # These commands run inside the process of all tests, which is to stay who it is.
    monkeypatch.setattr("minibuild.rootless.enter.enter", lambda loads="": "")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("words", "code", "words_out", "words_err"),
    [
        ("", 0, "usage: minibuild", ""),
        ("--help", 0, "image load", ""),
        ("help", 0, "usage: minibuild", ""),
        ("help build", 0, "--build-context", ""),
        ("help image", 0, "image inspect", ""),
        ("build --help", 0, "--pull[=always|missing|never]", ""),
        ("image --help", 0, "image inspect", ""),
        ("image", 2, "image inspect", ""),
        ("--version", 0, "minibuild ", ""),
        ("version --format json", 0, '"kernel"', ""),
        ("bild", 2, "", "unknown command: minibuild bild\nhint: did you mean `minibuild build`?"),
        ("image lst", 2, "", "did you mean ls? There are ls, inspect"),
        ("image x", 2, "", "hint: there are ls, inspect"),
        ("inspect x", 7, "", "there is no image x"),
        ("validate x", 2, "", "`minibuild image validate` an image"),
        ("squash x", 2, "", "did you mean `minibuild image squash`?"),
        ("course", 2, "", "`minibuild lab learn LESSON` sets the exercise"),
        ("ps", 2, "", "`minibuild run IMAGE COMMAND`"),
        ("-t app .", 2, "", "stand behind it: `minibuild build -t NAME .`"),
        ("/", 2, "", "did you mean `minibuild build /`?"),
        ("--help build", 0, "usage: minibuild build", ""),
        ("buildx build --help", 0, "usage: minibuild build", ""),
        ("help rmi", 0, "usage: minibuild image rm", ""),
        ("rmi nothing", 7, "", "there is no image nothing"),
        ("daemon", 2, "", "`minibuild serve` is one for docker buildx"),
        ("xyzzy", 2, "", "see `minibuild --help`"),
        ("build gs://bucket/x.tar.gz", 6, "", "gs:// is not read here: fetch it"),
        ("build dir:///none", 6, "", "leave out the dir://, and give the path: /none"),
        (
            "--destination x --context .",
            2,
            "",
            "`minibuild build` first, and then `-t NAME --push`",
        ),
        ("images -a", 0, "IMAGE", ""),
        ("--fast build", 2, "", "unknown flag before the command: --fast"),
        ("build --progres plain", 2, "", "did you mean --progress?"),
        ("build -q --progress plain .", 2, "", "contradict each other"),
        ("build nowhere", 6, "", "not a directory"),
        ("image inspect nothing", 7, "", "there is no image nothing"),
        ("image ls", 0, "IMAGE", ""),
        ("images", 0, "IMAGE", ""),
        ("completion tcsh", 2, "", "invalid value"),
    ],
)
def test_commands(
    words: str, code: int, words_out: str, words_err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(words.split()) == code
    captured = capsys.readouterr()
    assert words_out in captured.out
    assert words_err in captured.err
    assert "Traceback" not in captured.err
    assert bool(captured.err) is bool(words_err)


def failing(error: BaseException) -> Command:
    """A command that raises."""

    def run(options: object, session: Session) -> int:
        raise error

    return Command(lambda made: None, run)


def cause(kind: type[Exception]) -> BaseException:
    """An error with a cause, as a traceback shows it."""
    try:
        raise OSError("deep down")
    except OSError as inner:
        error = kind("above")
        error.__cause__ = inner
        return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyError("x"), 1, "internal error: KeyError: 'x'\nhint: run the command again with"),
        (RecursionError("deep"), 1, "internal error: RecursionError: deep"),
        (HostError("no room", hint="make some"), 3, "error: no room\nhint: make some\n"),
        (KeyboardInterrupt(), 130, "cancelled\n"),
        (
            OSError(errno.ENOSPC, "No space"),
            8,
            "error: the disk with the store is full\nhint: free",
        ),
        (OSError(errno.EMFILE, "Too many"), 3, "error: too many open files\nhint: raise the limit"),
        (
            OSError(errno.ENAMETOOLONG, "Too long", "/x" * 2500),
            3,
            f"error: {'/x' * 60}… (5,000 bytes): file name too long\nhint: Linux takes paths of",
        ),
        (PermissionError(errno.EACCES, "Denied", "/s/x"), 3, "error: /s/x: Denied\nhint: `ls -l`"),
        (PermissionError(errno.EPERM, "Not permitted"), 1, "internal error: PermissionError"),
        (FileNotFoundError(errno.ENOENT, "No such"), 1, "internal error: FileNotFoundError"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(catalogue, "load", lambda name: failing(error))
    assert entry(["version"]) == code
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["-D", "version"], ["version", "--debug"]])
@pytest.mark.parametrize("kind", [ValueError, HostError])
def test_debug_shows_where(
    words: list[str],
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(catalogue, "load", lambda name: failing(cause(kind)))
    assert entry(words) in (1, 3)
    err = capsys.readouterr().err
    assert "Traceback" in err and "deep down" in err
    assert "again with --debug" not in err


def test_the_reader_of_a_pipe_may_leave(root: Path) -> None:
    """`minibuild help | true` must not end in a traceback at exit."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minibuild.cli.main", "completion", "fish"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == main.BROKEN_PIPE
    assert err == b""
    process.stderr.close()


def test_errors_with_bytes_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    stderr = io.TextIOWrapper(io.BytesIO(), "ascii")
    session = Session(read_environment(), Console(sys.stdout), Console(stderr), threading.Event())
    from minibuild.cli.errors import show

    assert show(HostError("cannot read \udcff\u00e9"), session) == 3
    stderr.flush()
    assert stderr.buffer.getvalue() == b"error: cannot read \\xff\\xe9\n"


def test_root_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--root", "R", "version"], ["version", "--root=R"]):
        assert entry(words) == 0
        assert f"{Path.cwd() / 'R'}" in capsys.readouterr().out


def test_only_the_command_in_use_is_imported() -> None:
    """The start of the program is part of every cached build."""
    code = (
        "import sys; before = set(sys.modules); from minibuild.cli.main import entry\n"
        "from minibuild.cli.catalogue import parser_of\n"
        "parser_of('build').options(['-t', 'x', '--pull', '.'])\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    everything = done.stdout.split()
    assert "minibuild.cli.build" in everything
    others = ("image", "run", "du", "doctor", "completion", "summary", "stdin", "warnings", "table")
    assert not {f"minibuild.cli.{name}" for name in others} & set(everything)
    heavy = {"tqdm", "_sqlite3", "subprocess", "tempfile", "shutil", "difflib", "socket"}
    assert not heavy & set(everything)
    assert not [m for m in everything if m.startswith(("minibuild.oci", "minibuild.solver"))]


def test_every_command_of_the_catalogue_exists() -> None:
    for name in catalogue.CATALOGUE:
        assert catalogue.parser_of(name).prog == f"minibuild {name}"
