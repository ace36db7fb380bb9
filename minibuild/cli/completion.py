"""`minibuild completion SHELL`: a script that teaches a shell the commands and flags.

Comes in: the name of a shell. Goes out: a script, made from the parsers themselves, so that it
says what this version takes and nothing else. Sources: the completion chapters of the manuals of
bash, zsh and fish.
"""

import argparse
from collections.abc import Iterator

from minibuild.cli.catalogue import CATALOGUE, DOCKERS, load
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.startup.tuples import NamedTuple


class Flag(NamedTuple):
    """A flag: its spellings, what it is for, the words it takes if they are few, if it has any."""

    names: tuple[str, ...]
    help: str
    choices: tuple[str, ...]
    valued: bool


def parser() -> Parser:
    """The parser of `minibuild completion`."""
    made = Parser(
        "minibuild completion",
        description="Print a completion script.",
        epilog="bash: source <(minibuild completion bash)\n"
        "zsh:  source <(minibuild completion zsh)\n"
        "fish: minibuild completion fish | source",
    )
    made.add_argument("shell", choices=tuple(_SHELLS), metavar="SHELL", help=", ".join(_SHELLS))
    return made


def run(options: argparse.Namespace, session: Session) -> int:
    """Print the script."""
    session.say("\n".join(_SHELLS[options.shell]()))
    return 0


def flags(name: str) -> list[Flag]:
    """The flags of the command `name` that its help lists."""
    return [
        Flag(
            tuple(action.option_strings),
            action.help or "",
            tuple(str(choice) for choice in action.choices or ()),
            action.nargs != 0,
        )
        for action in load(name).parser()._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]


def _first_words() -> list[str]:
    return list(dict.fromkeys([*(name.split()[0] for name in CATALOGUE), *DOCKERS]))


def _about(first: str) -> str:
    entry = CATALOGUE.get(DOCKERS.get(first, first))
    return entry.summary if entry else f"commands about {first}s"


def _groups() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in CATALOGUE:
        first, _, second = name.partition(" ")
        if second:
            found.setdefault(first, []).append(second)
    return found


def _bash() -> Iterator[str]:
    yield "# bash completion for minibuild"
    yield "_minibuild() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local command="${COMP_WORDS[1]}" words="" at=1'
    yield '    case "$command" in'
    for first, seconds in _groups().items():
        yield f"    {first})"
        yield f'        if [ "$COMP_CWORD" -eq 2 ]; then words="{" ".join(seconds)}"; fi'
        joined = 'command="$command ${COMP_WORDS[2]}"; at=2'
        if first in CATALOGUE:  # It is a command itself, and takes other words and flags.
            joined = f'case "${{COMP_WORDS[2]}}" in {"|".join(seconds)}) {joined} ;; esac'
        yield f"        {joined} ;;"
    for name, meant in DOCKERS.items():
        yield f'    {name}) command="{meant}" ;;'
    yield "    esac"
    yield f'    if [ "$COMP_CWORD" -eq 1 ]; then words="{" ".join(_first_words())} --help"'
    yield '    elif [ "$COMP_CWORD" -gt "$at" ]; then'
    yield '        case "$command $before" in'
    for name in CATALOGUE:
        for flag in flags(name):
            if flag.choices:
                spelled = "|".join(f'"{name} {spelling}"' for spelling in flag.names)
                yield f'        {spelled}) words="{" ".join(flag.choices)}" ;;'
    yield '        *) case "$command" in'
    for name in CATALOGUE:
        all_flags = " ".join(spelling for flag in flags(name) for spelling in flag.names)
        yield f'            "{name}") [[ "$word" == -* ]] && words="{all_flags}" ;;'
    yield "            esac ;;"
    yield "        esac"
    yield "    fi"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -o default -o bashdefault -F _minibuild minibuild"


def _zsh() -> Iterator[str]:
    yield "#compdef minibuild"
    yield "_minibuild() {"
    yield "    local -a commands; local name=$words[2] at=2"
    yield "    commands=("
    for first in _first_words():
        yield "        " + _quoted(f"{first}:{_about(first)}")
    yield "    )"
    yield "    if (( CURRENT == 2 )); then _describe command commands; return; fi"
    for first, seconds in _groups().items():
        yield f"    if [[ $name == {first} ]]; then"
        joined, own = 'name="$name $words[3]"; at=3', ""
        if first in CATALOGUE:
            joined = f"case $words[3] in {'|'.join(seconds)}) {joined} ;; esac"
            own = " && [[ $words[3] != -* ]]"
        offer = f"compadd {' '.join(seconds)}"
        yield f"        if (( CURRENT == 3 )){own}; then {offer}; return; fi"
        yield f"        {joined}"
        yield "    fi"
    for name, meant in DOCKERS.items():
        yield f'    [[ $name == {name} ]] && name="{meant}"'
    yield "    shift $(( at - 1 )) words; (( CURRENT -= at - 1 ))"
    yield '    case "$name" in'
    for name in CATALOGUE:
        yield f'    "{name}")'
        specs = [_quoted(spec) for flag in flags(name) for spec in _zsh_specs(flag)]
        yield "        _arguments " + " ".join([*specs, "'*:file:_files'"]) + " ;;"
    yield "    esac"
    yield "}"
    # Sourced, the function has to be registered; found on fpath, it is called at once.
    yield 'if [ "$funcstack[1]" = "_minibuild" ]; then _minibuild'
    yield "else compdef _minibuild minibuild; fi"


def _zsh_specs(flag: Flag) -> Iterator[str]:
    help = flag.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    for spelling in flag.names:
        value = ""
        if flag.choices:
            value = f":value:({' '.join(flag.choices)})"
        elif flag.valued:
            value = ":value:_files"
        yield f"*{spelling}[{help}]{value}"


def _fish() -> Iterator[str]:
    yield "# fish completion for minibuild"
    no_command = "not __fish_seen_subcommand_from " + " ".join(_first_words())
    for first in _first_words():
        yield f"complete -c minibuild -f -n '{no_command}' -a {first} -d {_quoted(_about(first))}"
    for first, seconds in _groups().items():
        pending = f"__fish_seen_subcommand_from {first}; and not __fish_seen_subcommand_from "
        for second in seconds:
            about = _quoted(CATALOGUE[f"{first} {second}"].summary)
            yield (
                f"complete -c minibuild -f -n '{pending}{' '.join(seconds)}' -a {second} -d {about}"
            )
    for spelled, name in [*((name, name) for name in CATALOGUE), *DOCKERS.items()]:
        inside = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in spelled.split())
        for flag in flags(name):
            yield f"complete -c minibuild -n '{inside}' " + _fish_flag(flag)


def _fish_flag(flag: Flag) -> str:
    words = []
    for spelling in flag.names:
        words.append(f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}")
    if flag.choices:
        words.append(f"-x -a {_quoted(' '.join(flag.choices))}")
    elif flag.valued:
        words.append("-r")
    return " ".join([*words, f"-d {_quoted(flag.help)}"])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
COMMANDS = {"completion": Command(parser, run)}
