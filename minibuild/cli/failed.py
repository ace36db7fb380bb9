"""After a RUN has failed: how to look around in what it left, or at once a shell in there.

Comes in: the session of a build with `--on-error`. Goes out: lines for a person, and perhaps a
shell. The exit code stays that of the build. Read next: `run`.
"""

import sys

from minibuild.cli.command import Session


def look_around(session: Session, *, shell: bool) -> None:
    """Say what is kept, and open a shell if one is wanted and there is a terminal for it."""
    if not (shell and sys.stdin.isatty() and sys.stdout.isatty()):
        session.tell("what the step left is kept:  minibuild run --failed sh")
        if shell:
            session.tell("no shell was opened: standard input and output are no terminal")
        return
    session.tell("a shell in what the step left; the build goes on nowhere, `exit` ends it")
    from minibuild.cli.catalogue import load

    command = load("run")
    command.run(command.parser().options(["--failed", "sh"]), session)
