"""What the steps of a stage are called in progress: `[build 2/5] RUN make`.

Comes in: instructions. Goes out: names in BuildKit's form, so that logs of the two can be read side
by side. Variables that have a value are shown with it.
Read next: `state`, which counts the steps.
"""

from minibuild.graph.platform import Platform
from minibuild_dockerfile.expand import Lexer, LexError
from minibuild_dockerfile.instructions import Head, Heredoc, Run

Variables = dict[str, str]


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


def step_text(head: Head, variables: Variables, escape: str) -> str:
    """An instruction as progress shows it: its keyword in capitals, variables with their values."""
    text = head.keyword.upper() + head.original.lstrip()[len(head.keyword) :]
    if "$" not in text:
        return text
    try:
        return Lexer(text, variables, escape, keep_quotes=True).until("")[0]
    except LexError:
        return text


def run_step_text(item: Run, variables: Variables, escape: str) -> str:
    """A RUN; if it is a script, with the script's first line."""
    text = step_text(item.head, variables, escape)
    return f"{text} ({_summary(item.heredocs[0])})" if item.script else text


def _summary(heredoc: Heredoc) -> str:
    first, *more = heredoc.content.strip().split("\n")
    return first.rstrip("\r") + ("..." if more else "")
