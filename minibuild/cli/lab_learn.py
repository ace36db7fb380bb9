"""`minibuild lab learn` and `lab check`: the exercises of the course, set and marked.

Comes in: the number of a lesson, a folder. Goes out: the folder of an exercise; or what is right in
it and what is not, and exit code 1 if something is not. Read next: `minibuild.course.exercise`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_store
from minibuild.cli.table import table
from minibuild.course.exercise import CommandRun, Exercise, Requirement, Submission
from minibuild.course.exercises import EXERCISES, exercise
from minibuild.errors import UsageError, os_errors_as


def _lesson_flags(made: Parser) -> None:
    made.epilog = "The lessons are the pages docs/course/1.md to 8.md."
    made.word("[N]", "number of the lesson", dest="lesson")
    made.word("[DIR]", "default: lesson-N", dest="folder")
    made.format()


def _learn_flags(made: Parser) -> None:
    made.description = "Set the exercise of a lesson: make its folder. Without N, list them."
    _lesson_flags(made)


def _learn(options: argparse.Namespace, session: Session) -> None:
    if not options.lesson:
        found = [{"lesson": one.number, "title": one.title} for one in EXERCISES.values()]
        rows = [[str(one.number), one.title] for one in EXERCISES.values()]
        return session.say_result(options, found, table(["LESSON", "TITLE"], rows, "LESSON"))
    wanted = exercise(options.lesson)
    folder = options.folder or _folder(wanted)
    _write(wanted, folder)
    data = {"lesson": wanted.number, "folder": folder, "task": wanted.task}
    again = f" {options.folder}" if options.folder else ""
    last = f"then: minibuild lab check {wanted.number}{again}"
    lines = [f"{folder}: {wanted.title}", "", *wanted.task.splitlines(), "", last]
    session.say_result(options, data, lines)


def _folder(wanted: Exercise) -> str:
    return f"lesson-{wanted.number}"


def _write(wanted: Exercise, folder: str) -> None:
    with os_errors_as(UsageError, f"cannot write to {folder}"):
        try:
            os.mkdir(folder)
        except FileExistsError as error:
            hint = "name another folder, or remove it to begin again"
            raise UsageError(f"{folder} is there already", hint=hint) from error
        for name, text in wanted.files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)


def _check_flags(made: Parser) -> None:
    made.description = "Mark the exercise of a lesson: 0 if all is right, else 1."
    _lesson_flags(made)


def _check(options: argparse.Namespace, session: Session) -> int:
    if not options.lesson:
        raise UsageError("which lesson?", hint="minibuild lab check 1")
    wanted = exercise(options.lesson)
    folder = options.folder or _folder(wanted)
    if not os.path.isdir(folder):
        raise UsageError(
            f"there is no folder {folder}", hint=f"minibuild lab learn {wanted.number} makes it"
        )
    ran = [_run(words, folder, session) for words in wanted.commands]
    with open_store(session) as worker:
        findings = wanted.mark(Submission(folder, worker, ran))
    right = all(found.right for found in findings)
    made = [found._asdict() for found in findings]
    data = {"lesson": wanted.number, "right": right, "findings": made}
    session.say_result(options, data, _told(wanted, findings, right=right))
    return 0 if right else NO


def _told(wanted: Exercise, findings: Sequence[Requirement], *, right: bool) -> list[str]:
    lines = [f"{'yes' if found.right else 'NO '}  {found.said}" for found in findings]
    last = "all right" if right else "not yet"
    return [*lines, "", f"lesson {wanted.number}: {last}"]


def _run(words: Sequence[str], folder: str, session: Session) -> CommandRun:
    """Another command, in a process of its own: without root a build enters a namespace."""
    done = subprocess.run(
        [sys.executable, "-m", "minibuild", *words],
        cwd=folder,
        env={**session.environment.variables, "MINIBUILD_ROOT": session.root},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return CommandRun(done.returncode, done.stdout.decode("utf-8", "replace"))


COMMANDS = {
    "lab learn": Command(_learn_flags, _learn),
    "lab check": Command(_check_flags, _check),
}
