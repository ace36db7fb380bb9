"""Expressions of merge and diff: read from text, and worked out by any engine.

    merge(a, diff(b, c))      names of trees, `scratch` for the empty one, and two functions

Comes in: text. Goes out: an expression; and its value, a list of diffs, which is what a result is
everywhere here (`cache.results`). What a diff is, the engine knows: the model has pairs of trees in
memory, the other snapshots on disk. Read next: `trial`.
"""

import ast
from collections.abc import Callable, Mapping

from minibuild.errors import UsageError
from minibuild.startup.tuples import NamedTuple

EMPTY_TREE = "scratch"
_GRAMMAR = "it is made of names, merge(a, b, ...) and diff(lower, upper)"
_MAX_LENGTH = 2000

DiffList = tuple[int, ...]
"""Diffs in order, lowest first, by the numbers that an engine has for them."""

DiffFunction = Callable[[DiffList, DiffList], DiffList]
"""How an engine works out what changed from a lower value to an upper one."""


class Named(NamedTuple):
    """A tree by its name."""

    name: str


class MergedValue(NamedTuple):
    """The diffs of all parts, in order."""

    parts: tuple["Expression", ...]


class Differing(NamedTuple):
    """What changed from one to the other."""

    lower: "Expression"
    upper: "Expression"


Expression = Named | MergedValue | Differing


def parse_expression(text: str) -> Expression:
    """The expression of a text. Raises `UsageError`."""
    if len(text) > _MAX_LENGTH:
        raise UsageError("the expression is too long", hint=f"at most {_MAX_LENGTH} characters")
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
        return _expression(parsed)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"the expression {text!r} cannot be read", hint=_GRAMMAR) from None


def _expression(node: ast.expr) -> Expression:
    match node:
        case ast.Name(id=name):
            return Named(name)
        case ast.Call(func=ast.Name(id="merge"), args=parts, keywords=[]):
            return MergedValue(tuple(_expression(part) for part in parts))
        case ast.Call(func=ast.Name(id="diff"), args=[lower, upper], keywords=[]):
            return Differing(_expression(lower), _expression(upper))
        case ast.Call(func=ast.Name(id="diff")):
            raise UsageError("diff takes two trees: diff(lower, upper)")
    raise UsageError(f"{ast.unparse(node)!r} is no part of an expression", hint=_GRAMMAR)


def text_of(expression: Expression) -> str:
    """The expression as it is written."""
    match expression:
        case Named(name):
            return name
        case MergedValue(parts):
            return f"merge({', '.join(map(text_of, parts))})"
        case Differing(lower, upper):
            return f"diff({text_of(lower)}, {text_of(upper)})"


def value_of(expression: Expression, known: Mapping[str, DiffList], diff: DiffFunction) -> DiffList:
    """The diffs that an expression comes to. Raises `UsageError` for a name that is not known."""
    match expression:
        case Named(name):
            if name not in known:
                raise UsageError(
                    f"there is no tree {name!r}",
                    hint=f"give it as an argument before it is used: {name}='x y/1'",
                )
            return known[name]
        case MergedValue(parts):
            return tuple(key for part in parts for key in value_of(part, known, diff))
        case Differing(lower, upper):
            return diff(value_of(lower, known, diff), value_of(upper, known, diff))
