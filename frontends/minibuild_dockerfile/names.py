"""What the steps of a stage are called in progress: `[build 2/5] RUN make`.

Comes in: instructions. Goes out: names in BuildKit's form, so that logs of the two can be read side
by side. Variables that have a value are shown with it, but for those whose names look secret; in a
RUN the others stay as they are, for they belong to the shell. Passwords in addresses are hidden.
Read next: `state`, which counts the steps.
"""

from collections.abc import Collection, Mapping

from minibuild.graph.platform import Platform
from minibuild_dockerfile.instructions import Head, Heredoc, Run
from minibuild_dockerfile.lexer import Find, Lexer, LexError, TooMuchError, joined

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


def _shown(variables: Variables, secrets: Collection[str] = ()) -> Find:
    """Variables as they may be shown: `secrets`, and what is named like one, without the value."""

    def find(name: str) -> str | None:
        from minibuild.graph.secret_names import may_be_secret

        value = variables.get(name)
        return _HIDDEN if name in secrets or (value and may_be_secret(name)) else value

    return find


def step_text(head: Head, variables: Variables, escape: str) -> str:
    """An instruction as progress shows it: its keyword in capitals, its words expanded."""
    return _expanded(Lexer(_written(head), _shown(variables), escape))


def run_step_text(item: Run, variables: Variables, secrets: Collection[str], escape: str) -> str:
    """A RUN, its quotes kept; if it is a script, with the script's first line.

    `secrets` are the variables that mounts set.
    """
    text = _written(item.head)
    if item.script:
        text = f"{text} ({_summary(item.heredocs[0])})"
    shown = _shown(variables, secrets)
    return _expanded(Lexer(text, shown, escape, keep_quotes=True, keep_unset=True))


def _written(head: Head) -> str:
    return (head.keyword.upper() + head.original.lstrip()[len(head.keyword) :]).strip()


def _expanded(lexer: Lexer) -> str:
    """The text expanded, or as it is if it cannot be: the shell may know what it means."""
    lexer.most = _LONGEST
    try:
        return joined(lexer.until(""))
    except (LexError, TooMuchError):
        return lexer.text


def _summary(heredoc: Heredoc) -> str:
    first, *more = heredoc.content.strip().split("\n")
    return first.rstrip("\r") + ("..." if more else "")
