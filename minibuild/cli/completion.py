"""`minibuild completion SHELL`: a script that teaches a shell the commands and flags.

Comes in: the name of a shell. Goes out: a script, which the library shtab makes of the parsers
themselves, so that it says what this version takes and nothing else.
"""

import argparse

from minibuild.cli.catalogue import CATALOGUE, DOCKERS, parser_of
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser

_SHELLS = ("bash", "zsh", "fish")
_FILES = ("FILE", "PATH", "DIR", "TAR", "DEST")


def _flags(made: Parser) -> None:
    made.description = "Print a completion script."
    made.epilog = (
        "bash: source <(minibuild completion bash)\n"
        "zsh:  source <(minibuild completion zsh)\n"
        "fish: minibuild completion fish | source"
    )
    made.word("SHELL", ", ".join(_SHELLS), choices=_SHELLS)


def run(options: argparse.Namespace, session: Session) -> None:
    """Print the script."""
    import shtab

    session.say(shtab.complete(whole_parser(), options.shell))


def whole_parser() -> argparse.ArgumentParser:
    """One parser of all commands, whose values may be names of files where they are."""
    from shtab import FILE

    whole = argparse.ArgumentParser("minibuild")
    groups = {"": whole.add_subparsers()}
    for spelled, name in [*((name, name) for name in CATALOGUE), *DOCKERS.items()]:
        group, _, word = spelled.rpartition(" ")
        if group not in groups:
            of_group = groups[""].choices.get(group)  # `lab` is a command as well, and
            if of_group:  # its first word may be one of the commands below it.
                of_group._actions[:] = [it for it in of_group._actions if it.option_strings]
            else:
                of_group = groups[""].add_parser(group, help=f"commands about {group}s")
            groups[group] = of_group.add_subparsers()
        made = groups[group].add_parser(
            word, help=CATALOGUE[name].summary, parents=[parser_of(name)], add_help=False
        )
        for action in made._actions:
            if not action.option_strings or action.metavar in _FILES:
                action.complete = FILE  # type: ignore[attr-defined]
    return whole


COMMANDS = {"completion": Command(_flags, run)}
