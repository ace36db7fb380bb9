"""What flags a command has, for tests of pages and scripts that must have them all."""

from argparse import SUPPRESS

from minibuild.cli.catalogue import parser_of


def flags(command: str) -> list[list[str]]:
    """The spellings of each flag that the help of `command` lists."""
    actions = parser_of(command)._actions
    return [list(it.option_strings) for it in actions if it.option_strings and it.help != SUPPRESS]
