"""Quotes, escapes and variables in words of a Dockerfile.

Comes in: a word as written, the variables of that moment, the escape character. Goes out: what
the word means, which names it used, and which of them were not set.
Read next: `lexer` for the rules, `convert` for who knows the variables.

Two ways: `process_word` takes quotes away, `process_heredoc` leaves them alone.
"""

import json
from collections.abc import Mapping

from minibuild.errors import Span
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.lexer import Fragment, Lexer, LexError, TooMuchError, joined, separated
from minibuild_dockerfile.limits import Budget, too_much

_SHOWN = 1000
"""So many characters of a word are in the error about it."""


class Expansion(NamedTuple):
    """What a word stands for. `unset` are the names without a value, also where the word has a
    default."""

    parts: list[Fragment]
    used: frozenset[str]
    unset: frozenset[str]

    @property
    def text(self) -> str:
        """All of it."""
        return joined(self.parts)

    @property
    def words(self) -> list[str]:
        """The same, split at the spaces that were not quoted."""
        return separated(self.parts)


class ExpansionError(DockerfileError):
    """A word that cannot be expanded. `unset` are the names without a value up to there."""

    unset: frozenset[str] = frozenset()


def process_word(
    word: str,
    variables: Mapping[str, str],
    span: Span,
    escape: str = "\\",
    budget: Budget | None = None,
) -> Expansion:
    """Expand a word. `span` is for errors alone."""
    return _expanded(Lexer(word, variables.get, escape), span, budget)


def process_heredoc(
    content: str, variables: Mapping[str, str], span: Span, budget: Budget | None = None
) -> Expansion:
    """Expand variables in an inline file. Quotes are text; the escape is always a backslash."""
    return _expanded(Lexer(content, variables.get, "\\", quotes=False), span, budget)


def _expanded(lexer: Lexer, span: Span, budget: Budget | None) -> Expansion:
    """Expand everything. Errors name the whole word."""
    budget = budget or Budget()
    lexer.most = budget.left
    try:
        parts = lexer.until("")
    except TooMuchError:
        raise too_much(span) from None
    except LexError as error:
        text = lexer.text if len(lexer.text) <= _SHOWN else f"{lexer.text[:_SHOWN]}..."
        quoted = json.dumps(text, ensure_ascii=False)
        failed = ExpansionError(f"failed to process {quoted}: {error}", span, hint=error.hint)
        failed.unset = frozenset(lexer.unset)
        raise failed from None
    budget.take(lexer.spent, span)
    return Expansion(parts, frozenset(lexer.used), frozenset(lexer.unset))
