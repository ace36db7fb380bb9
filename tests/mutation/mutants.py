"""Mutants of a module: its functions, each with one small change.

Comes in: the source of a module. Goes out: `Mutant`s: where, what was changed, and the code of the
changed function. Only what stands in functions is changed: constants of a module are copied
by those that import them, and a change would not reach the copies.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from types import CodeType
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


class Mutant(NamedTuple):
    """One changed function: `function` is its qualified name, `code` its code after the change."""

    path: str
    line: int
    function: str
    change: str
    code: CodeType


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    for name, function in _functions(tree.body, ""):
        for node in _inside(function):
            for change, mutate in _changes(node):
                mutated = copy.deepcopy(tree)
                twin = _twin(tree, mutated, node)
                mutate(twin)
                try:
                    compiled = compile(ast.fix_missing_locations(mutated), path, "exec")
                except (SyntaxError, ValueError):
                    continue
                code = _find(compiled, name)
                if code is not None:
                    yield Mutant(path, _line(node), name, change, code)


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a module and methods of its classes; inner functions belong to the outer one."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _inside(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function's body, without docstrings, annotations and texts of errors."""
    left: list[ast.AST] = list(reversed(function.body))
    while left:
        node = left.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        if isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        skipped = {"annotation", "returns", "decorator_list"}
        for field, value in reversed(list(ast.iter_fields(node))):
            if field not in skipped:
                children = value if isinstance(value, list) else [value]
                left += [child for child in reversed(children) if isinstance(child, ast.AST)]


def _twin(tree: ast.AST, mutated: ast.AST, node: ast.AST) -> ast.AST:
    """The node of the copy that stands where `node` stands in the original."""
    for original, twin in zip(ast.walk(tree), ast.walk(mutated), strict=True):
        if original is node:
            return twin
    raise AssertionError("the copy has the same nodes")


def _line(node: ast.AST) -> int:
    """The line that is executed; of a condition in brackets that is the one behind the `if`."""
    return getattr(getattr(node, "test", node), "lineno", 0)


def _find(code: CodeType, qualified: str) -> CodeType | None:
    for part in qualified.split("."):
        inner = (c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
        found = next(inner, None)
        if found is None:
            return None
        code = found
    return code


Change = Callable[[ast.AST], None]
"""Does one change to a node, in place."""


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be changed in one node: a description, and the function that does it to a copy."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            other = _COMPARISONS[type(op)]
            yield f"{type(op).__name__} -> {other.__name__}", _set("ops", [other()])
        case ast.BoolOp(op=op):
            new: ast.boolop = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield f"{type(op).__name__} -> {type(new).__name__}", _set("op", new)
        case ast.BinOp(op=op) if type(op) in _OPERATORS and not _is_text(node):
            swapped = _OPERATORS[type(op)]
            yield f"{type(op).__name__} -> {swapped.__name__}", _set("op", swapped())
        case ast.UnaryOp(op=ast.Not()):
            yield "not x -> bool(x)", _unnegate
        case ast.If() | ast.While() | ast.IfExp():
            yield "condition negated", _negate
        case ast.Constant(value=bool(value)):
            yield f"{value} -> {not value}", _set("value", not value)
        case ast.Constant(value=int(value)):
            yield f"{value} -> {value + 1}", _set("value", value + 1)
        case ast.Continue() | ast.Break():
            yield f"{type(node).__name__.lower()} removed", _erase
        case ast.Expr(value=ast.Call() | ast.YieldFrom() | ast.Yield()):
            yield "statement removed", _erase
        case ast.AugAssign():
            yield "statement removed", _erase
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield "returns None", _set("value", ast.Constant(None))


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(s, ast.JoinedStr) for s in sides) or any(
        isinstance(s, ast.Constant) and isinstance(s.value, str | bytes) for s in sides
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _set(field: str, value: object) -> Change:
    return lambda node: setattr(node, field, value)


def _negate(node: ast.AST) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]


def _unnegate(node: ast.AST) -> None:
    node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)  # type: ignore[attr-defined]


def _erase(node: ast.AST) -> None:
    """Turn a statement into `pass`, in place: its parent need not be known."""
    node.__class__ = ast.Pass
