"""The lexer behind every expansion: quotes, escapes, `$name` and `${name...}`.

Comes in: a text, variables, the escape character, and what to keep as it is written. Goes out: the
text expanded, its words, and the names it used. The rules are those of BuildKit's shell lexer: a
subset of the POSIX shell's word expansion, with `/` from bash.
Read next: `patterns` for `#`, `%` and `/`.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache

from minibuild_dockerfile.limits import MOST_EXPANDED

MAX_DEPTH = 50
"""How deep `${a:-${b:-...}}` may be nested; the lexer calls itself for each level."""

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space as Unicode has it, for `strip` and character classes. `isspace` has four more."""

_PLAIN_SPACES = dict.fromkeys(map(ord, SPACES), " ")
_SPECIAL_PARAMETERS = "@*#?-$!0"


@cache
def _plain(special: str) -> re.Pattern[str]:
    """A run of characters none of which is special."""
    return re.compile(f"[^{re.escape(special)}]+")


Find = Callable[[str], str | None]
"""The value of a variable; None for one that is not set."""


class LexError(ValueError):
    """What is wrong with a word. Becomes a `DockerfileError` where the span is known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TooMuchError(Exception):
    """The text stands for more than may be made of it."""


Fragment = tuple[str, bool]
"""A part of what a text stands for, and whether spaces in it separate words."""


def joined(parts: Iterable[Fragment]) -> str:
    """The parts as one text."""
    return "".join([text for text, _ in parts])


def separated(parts: Iterable[Fragment]) -> list[str]:
    """The parts as words."""
    words: list[list[str]] = [[]]
    for text, separates in parts:
        first, *rest = text.translate(_PLAIN_SPACES).split(" ") if separates else [text]
        words[-1].append(first)
        words += ([piece] for piece in rest)
    return list(filter(None, map("".join, words)))


class Lexer:
    """Reads one word from left to right.

    The `keep_` options leave quotes, escapes and unset variables in the result as written, for
    finding heredocs in a line that the shell is to read later. `quotes=False` makes quotes text.
    All variables together may stand for `most` characters; `spent` is how many it were.
    """

    __slots__ = (
        "depth", "escape", "find", "keep_escapes", "keep_quotes", "keep_unset", "most", "position",
        "quotes", "spent", "text", "unset", "used",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        find: Find,
        escape: str = "\\",
        *,
        quotes: bool = True,
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self.text = text
        self.position = 0
        self.find = find
        self.escape = escape
        self.quotes = quotes
        self.keep_quotes = keep_quotes
        self.keep_escapes = keep_escapes
        self.keep_unset = keep_unset
        self.used: set[str] = set()
        self.unset: set[str] = set()
        self.depth = 0
        self.most = MOST_EXPANDED
        self.spent = 0

    def peek(self) -> str:
        """The next character, or nothing at the end."""
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        """Take the next character, or nothing at the end."""
        character = self.peek()
        self.position += 1
        return character

    def until(self, stop: str) -> list[Fragment]:
        """Expand up to the character `stop`, and take it; up to the end if `stop` is empty."""
        out: list[Fragment] = []
        plain = _plain(("$'\"<" if self.quotes else "$") + self.escape + stop)
        while character := self.peek():
            if run := plain.match(self.text, self.position):
                self.position = run.end()
                out.append((run[0], True))
            elif character == stop:
                self.position += 1
                return out
            elif character == "$":
                out.append((self.dollar(), True))
            else:
                out.append((self.one_special(character), False))
        if stop:
            raise LexError(f"unexpected end of statement while looking for matching {stop}")
        return out

    def one_special(self, character: str) -> str:
        """Take a quoted part, an escaped character, or `<<` with the spaces after it."""
        if character == "'":
            return self.single_quoted()
        if character == '"':
            return self.double_quoted()
        self.position += 1
        if character == "<":
            return self.less_than()
        # An escape at the very end stands for nothing.
        return (self.escape if self.keep_escapes else "") + self.next()

    def less_than(self) -> str:
        """`<<` keeps the spaces after it, so that `<< EOF` stays one word for heredocs."""
        if self.peek() != "<":
            return "<"
        self.position += 1
        begin = self.position
        while self.peek() and self.peek() in SPACES:
            self.position += 1
        return "<<" + self.text[begin : self.position]

    def single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            self.position = len(self.text)
            raise _unclosed("single-quote")
        inside = self.text[self.position + 1 : end]
        self.position = end + 1
        return f"'{inside}'" if self.keep_quotes else inside

    def double_quoted(self) -> str:
        """In double quotes `$` is special, and the escape before `"`, `$` and itself."""
        self.position += 1
        out: list[str] = []
        plain = _plain('"$' + self.escape)
        while character := self.peek():
            if run := plain.match(self.text, self.position):
                self.position = run.end()
                out.append(run[0])
            elif character == '"':
                self.position += 1
                inside = "".join(out)
                return f'"{inside}"' if self.keep_quotes else inside
            elif character == "$":
                out.append(self.dollar())
            else:
                out.append(self.escaped_in_double_quotes())
        raise _unclosed("double-quote")

    def escaped_in_double_quotes(self) -> str:
        self.position += 1
        kept = self.escape if self.keep_escapes else ""
        if not self.peek():
            return kept
        if self.peek() in ('"', "$", self.escape):
            return kept + self.next()
        return kept + self.escape

    def name(self) -> str:
        """Take a variable's name: a word, a number, or one special character; or nothing."""
        first = self.peek()
        start = self.position
        if first.isdecimal():
            while self.peek().isdecimal():
                self.position += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self.position += 1
        else:
            while (character := self.peek()).isalpha() or character == "_" or character.isdecimal():
                self.position += 1
        return self.text[start : self.position]

    def value(self, name: str) -> str | None:
        """The variable's value; its name is noted as used, or as unset."""
        value = self.find(name)
        (self.unset if value is None else self.used).add(name)
        return value

    def dollar(self) -> str:
        """Take `$name` or `${...}`."""
        self.position += 1
        if self.peek() == "{":
            self.position += 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise LexError(f"syntax error: ${{}} nested more than {MAX_DEPTH} deep")
            value = self.braced()
            self.depth -= 1
        elif name := self.name():
            found = self.value(name)
            value = self.unknown(f"${name}") if found is None else found
        else:
            return "$"
        self.spent += len(value)
        if self.spent > self.most:
            raise TooMuchError
        return value

    def unknown(self, written: str) -> str:
        """What an unset variable stands for."""
        return written if self.keep_unset else ""

    def braced(self) -> str:
        """What stands after `${`, up to `}`."""
        name = self.name()
        modifier = self.next()
        if not modifier:
            raise _missing("'}'")
        if not name and modifier in "{}:":
            raise LexError(
                "syntax error: bad substitution", "write ${name}, or \\$ for a dollar sign"
            )
        if modifier == "}":
            value = self.value(name)
            return self.unknown(f"${{{name}}}") if value is None else value
        if modifier == "/":
            return self.substituted(name)
        if modifier == ":":
            modifier += self.next()
        if modifier in ("#", "%"):
            return self.trimmed(name, modifier)
        if modifier in ("-", "+", "?", ":-", ":+", ":?"):
            return self.conditional(name, modifier)
        if modifier[0] == ":" and modifier[1:] not in ("#", "%"):
            rest = self.operand("}", raw=False)  # such as ${name:0:3}, which a shell may know
            if self.value(name) is None and self.keep_unset:
                return f"${{{name}{modifier}{rest}}}"
        hint = "the modifiers are :- - :+ + :? ? # ## % %% / and //"
        if "}" not in self.text:
            hint = "close the substitution with '}', as in ${name}:more"
        raise LexError(f"unsupported modifier ({modifier}) in substitution", hint)

    def conditional(self, name: str, modifier: str) -> str:
        """The forms that ask whether the variable is set; with a colon, and not empty."""
        word = self.operand("}", raw=False)
        value = self.value(name)
        if value is None and self.keep_unset:
            return f"${{{name}{modifier}{word}}}"
        kind = modifier[-1]
        if value is not None and not (modifier[0] == ":" and value == ""):
            return word if kind == "+" else value
        if kind == "+":
            return ""
        if kind == "-":
            return word
        problem = "is not allowed to be " + ("unset" if value is None else "empty")
        raise LexError(
            f"{name}: {word or problem}",
            "give the value with --build-arg, or in an ARG or ENV above this line",
        )

    def trimmed(self, name: str, modifier: str) -> str:
        """`${name#pattern}` and `${name%pattern}`; the sign doubled for the longest match."""
        pattern = self.operand("}", raw=True)
        value = self.value(name)
        if value is None and self.keep_unset:
            return f"${{{name}{modifier}{pattern}}}"
        greedy = pattern.startswith(modifier)
        pattern = pattern.removeprefix(modifier)
        from minibuild_dockerfile.patterns import PatternError, without_prefix, without_suffix

        cut = without_prefix if modifier == "#" else without_suffix
        try:
            return cut(value or "", pattern, greedy)
        except PatternError as error:
            raise _bad_pattern(pattern, error) from None

    def substituted(self, name: str) -> str:
        """`${name/pattern/text}`, with two slashes for every match."""
        every = self.peek() == "/"
        if every:
            self.position += 1
        pattern = self.operand("/", raw=True)
        replacement = self.operand("}", raw=True)
        value = self.value(name)
        if value is None and self.keep_unset:
            return f"${{{name}{'//' if every else '/'}{pattern}/{replacement}}}"
        from minibuild_dockerfile.patterns import PatternError, replaced

        try:
            return replaced(value or "", pattern, replacement, every, self.most)
        except OverflowError:
            raise TooMuchError from None
        except PatternError as error:
            raise _bad_pattern(pattern, error) from None

    def operand(self, stop: str, *, raw: bool) -> str:
        """The expanded word inside `${}` up to `stop`; `raw` keeps escapes for a pattern."""
        before, self.keep_escapes = self.keep_escapes, raw or self.keep_escapes
        try:
            return joined(self.until(stop))
        except LexError:
            if self.peek():
                raise
            raise _missing("'}'" if stop == "}" else "'/' in ${}") from None
        finally:
            self.keep_escapes = before


def _unclosed(quote: str) -> LexError:
    message = f"unexpected end of statement while looking for matching {quote}"
    return LexError(message, "close the quote, or escape it")


def _missing(what: str) -> LexError:
    hint = "close the substitution with '}', or write \\$ for a dollar sign"
    if what != "'}'":
        hint = "write ${name/pattern/replacement}"
    return LexError(f"syntax error: missing {what}", hint)


def _bad_pattern(pattern: str, error: Exception) -> LexError:
    return LexError(
        f"invalid pattern ({pattern}) in substitution: {error}",
        "in a pattern a backslash may stand before * ? \\ } and / only",
    )
