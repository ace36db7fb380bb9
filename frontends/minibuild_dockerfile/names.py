"""What the steps of a stage are called in progress: `[build 2/5] RUN make`.

Comes in: instructions. Goes out: names in BuildKit's form, so that logs of the two can be read side
by side. Variables that have a value are shown with it, but for those whose names look secret; in a
RUN the others stay as they are, for they belong to the shell. Passwords in addresses are hidden.
Read next: `state`, which counts the steps.
"""

from collections.abc import Collection, Iterator, Mapping

from minibuild.graph.platform import Platform
from minibuild_dockerfile.instructions import Head, Heredoc, Run
from minibuild_dockerfile.lexer import Lexer, LexError, TooMuchError

_HIDDEN = "****"
_LONGEST = 1 << 16
"""A name in which variables stand for more is shown as it is written."""

Variables = Mapping[str, str]


class StepNames:
    """Numbers the steps of one stage."""

    __slots__ = ("_label", "_number", "_platform", "_total")

    def __init__(self, label: str, total: int, platform: str = "") -> None:
        self._label = label
        self._number = 0
        self._total = total
        self._platform = platform

    def next(self, text: str) -> str:
        """The name of the next step."""
        self._number += 1
        return self.same(text)

    def same(self, text: str) -> str:
        """The name of one more vertex of the current step."""
        if "@" in text:
            from minibuild.graph.address import without_passwords

            text = without_passwords(text)
        if not self._total:
            return text
        width = len(str(self._total))
        words = [self._platform, self._label, f"{self._number:>{width}}/{self._total}"]
        return f"[{' '.join(word for word in words if word)}] {text}"


def platform_prefix(platform: Platform, target: Platform) -> str:
    """The platform of a stage, and the one it works for if that is another."""
    if platform == target:
        return str(platform)
    short = target.architecture + (f"/{target.variant}" if target.variant else "")
    return f"{platform}->{short if platform.os == target.os else target}"


class _Shown(Mapping[str, str]):
    """Variables as they may be shown: `secrets`, and what is named like one, without the value."""

    __slots__ = ("_secrets", "_variables")

    def __init__(self, variables: Variables, secrets: Collection[str] = ()) -> None:
        self._variables = variables
        self._secrets = secrets

    def __getitem__(self, name: str) -> str:
        if name in self._secrets:
            return _HIDDEN
        from minibuild.graph.secret_names import may_be_secret

        value = self._variables[name]
        return _HIDDEN if value and may_be_secret(name) else value

    def __iter__(self) -> Iterator[str]:
        return iter({*self._variables, *self._secrets})

    def __len__(self) -> int:
        return len({*self._variables, *self._secrets})


def step_text(head: Head, variables: Variables, escape: str) -> str:
    """An instruction as progress shows it: its keyword in capitals, its words expanded."""
    return _expanded(Lexer(_written(head), _Shown(variables), escape))


def run_step_text(item: Run, variables: Variables, secrets: Collection[str], escape: str) -> str:
    """A RUN, its quotes kept; if it is a script, with the script's first line.

    `secrets` are the variables that mounts set.
    """
    text = _written(item.head)
    if item.script:
        text = f"{text} ({_summary(item.heredocs[0])})"
    shown = _Shown(variables, secrets)
    return _expanded(Lexer(text, shown, escape, keep_quotes=True, keep_unset=True))


def _written(head: Head) -> str:
    return (head.keyword.upper() + head.original.lstrip()[len(head.keyword) :]).strip()


def _expanded(lexer: Lexer) -> str:
    """The text expanded, or as it is if it cannot be: the shell may know what it means."""
    lexer.most = _LONGEST
    try:
        return lexer.until("")[0]
    except (LexError, TooMuchError):
        return lexer.text


def _summary(heredoc: Heredoc) -> str:
    first, *more = heredoc.content.strip().split("\n")
    return first.rstrip("\r") + ("..." if more else "")
