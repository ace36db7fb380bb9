"""argparse, with the manners of this program.

Comes in: argv. Goes out: options, or a `UsageError` that names what was probably meant. Flags are
never abbreviated (`--no` would change its meaning with the next release), and those with an
optional value take it after an equals sign only, as Docker's do.
Read next: `build_flags`, `foreign_flags`.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from minibuild.buildflags.attributes import truth
from minibuild.errors import UsageError
from minibuild.graph.spelling import nearest, one_of
from minibuild.progress.select import MODES


class Parser(argparse.ArgumentParser):
    """A parser of one command."""

    def __init__(self, prog: str, **rest: Any) -> None:
        super().__init__(prog, allow_abbrev=False, formatter_class=_formatter, **rest)
        self._optional: dict[str, str] = {}
        self._habits: dict[str, str] = {}
        self.value("--root DIR", argparse.SUPPRESS)
        self.switch("-D --debug", argparse.SUPPRESS)

    # --- What a command takes, as its help has it: `-f --file FILE`, `IMAGE`, `[NAME...]` ---

    def word(self, spec: str, help: str, *, dest: str = "", **rest: Any) -> None:
        """An argument that is no flag; in brackets one that may be left out, and then is ""."""
        metavar = spec.strip("[]").removesuffix("...")
        nargs = {"[": "?", "...": "+", "[...": "*"}.get(spec.rstrip("]").replace(metavar, "", 1))
        if nargs == "?":
            rest.setdefault("default", "")
        self.add_argument(dest or metavar.lower(), nargs=nargs, metavar=metavar, help=help, **rest)

    def value(self, spec: str, help: str, **rest: Any) -> None:
        """A flag with a value, which is "" if it is not given."""
        *names, metavar = spec.split(" ")
        self.add_argument(*names, metavar=metavar, help=help, **{"default": "", **rest})

    def choice(self, spec: str, known: Sequence[str], help: str) -> None:
        """A flag whose value is one of some words, and the first of them by default."""
        self.value(spec, help, choices=known, default=known[0])

    def values(self, spec: str, help: str, **rest: Any) -> None:
        """A flag that may be given many times; the option is the list of its values."""
        self.value(spec, help, action="append", **{"default": [], **rest})

    def switch(self, names: str, help: str) -> None:
        """A flag that is on or off: `--name`, or `--name=true|false`."""
        self.add_argument(*names.split(" "), action="store_true", help=help)

    def habit(self, name: str, never_false: str = "") -> None:
        """A flag that asks for what is done anyway. `never_false` says why not the opposite."""
        self._habits[name] = never_false
        self.switch(name, argparse.SUPPRESS)

    def optional_value(self, spec: str, bare: str, help: str, default: str = "") -> None:
        """A flag whose value may be left out (then it is `bare`), given as `--name=VALUE`."""
        self._optional[spec.split(" ")[0]] = bare
        self.value(spec, help, default=default)

    def format(self, help: str = "text or json", *, short: bool = False) -> None:
        """The choice between a result for people and one for programs; `short`: also `--json`."""
        self.add_argument("--format", choices=("text", "json"), default="text", help=help)
        if short:
            same = "the same as --format=json"
            self.add_argument(
                "--json", action="store_const", const="json", dest="format", help=same
            )

    def progress(self, quiet: str) -> None:
        """The flags that say how progress is shown, or that it is not."""
        self.choice("--progress KIND", MODES, "|".join(MODES))
        self.switch("-q --quiet", quiet)

    def platform(self, help: str) -> None:
        """The flag that says which image is meant, of those for several platforms."""
        self.value("--platform OS/ARCH", help)

    def options(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options that `argv` means. Raises `UsageError`."""
        options, rest = self.parse_known_args(self._normalised(argv))
        if rest:
            self._reject(rest)
        return options

    def format_help(self) -> str:
        """The help, with optional values written as they are given: `--pull[=VALUE]`."""
        return super().format_help().replace(" [=", "[=")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """What argparse calls for the value of a flag that has choices."""
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[-1] if action.option_strings else action.metavar
            said = f"invalid value {value!r} for {name}"
            raise UsageError(said, hint=one_of(str(value), map(str, action.choices)))

    def error(self, message: str) -> NoReturn:
        """What argparse calls for words that it cannot read."""
        raise UsageError(message, hint=f"see `{self.prog} --help`")

    def _normalised(self, argv: Sequence[str]) -> list[str]:
        """argv without the forms that argparse does not know: `--switch=true`, a bare `--pull`."""
        found: list[str] = []
        for position, word in enumerate(argv):
            if word == "--":
                return found + list(argv[position:])
            name, equals, value = word.partition("=")
            action = self._option_string_actions.get(name)
            if name in self._optional and not equals:
                word = f"{name}={self._optional[name]}"
            elif equals and isinstance(action, argparse._StoreConstAction):
                if not truth(value, name.lstrip("-")):
                    if reason := self._habits.get(name):
                        raise UsageError(f"{name}=false is not supported", hint=reason)
                    found = [one for one in found if one not in action.option_strings]
                    continue
                word = name
            found.append(word)
        return found

    def _reject(self, words: Sequence[str]) -> NoReturn:
        flags = [word for word in words if word.startswith("-") and word != "-"]
        if not flags:
            raise UsageError(
                f"unexpected argument {words[0]!r}",
                hint=f"see `{self.prog} --help` for what it takes",
            )
        name = flags[0].partition("=")[0]
        from minibuild.cli.foreign_flags import FOREIGN

        if instead := FOREIGN.get(self.prog.removeprefix("minibuild "), {}).get(name):
            raise UsageError(f"there is no flag {name} here", hint=instead)
        raise UsageError(f"unknown flag: {name}", hint=self._meant(name))

    def _meant(self, name: str) -> str:
        """What to do in place of a flag that there is not. Never its opposite."""
        word = name.lstrip("-")
        known = [flag.lstrip("-") for flag in self._option_string_actions if flag.startswith("--")]
        positive = word.removeprefix("no-")
        if positive != word and positive in known:
            return f"leave out --{positive}"
        negative = word.startswith("no-")
        same = [flag for flag in known if flag.startswith("no-") == negative]
        if near := nearest(word, same, most=2):
            return f"did you mean --{near}?"
        if longer := [f"--{flag}" for flag in known if flag.startswith(f"{word}-")]:
            return f"there {'are' if len(longer) > 1 else 'is'} {', '.join(longer)}"
        return f"see `{self.prog} --help`"


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Left to find the width itself, argparse imports shutil and with it compression libraries.
    try:
        columns = os.get_terminal_size(1).columns
    except (OSError, ValueError):
        columns = 0
    return argparse.RawDescriptionHelpFormatter(prog, width=min(columns or 80, 100) - 2)
