"""Regular expressions that are compiled at their first use.

Comes in: an expression. Goes out: what behaves as the compiled one. Python compiles expressions
again in each process, 0.02 to 1 ms each: those of the modules of a cached build took 4.6 ms, and it
asks a third of them. For type checkers it is `re.compile`.
"""

import re
from typing import cast


class _Expression:
    """Unset slots are looked up once, and then hold the methods of the compiled expression."""

    __slots__ = (
        *("_flags", "_source", "findall", "finditer", "flags", "fullmatch", "groupindex", "groups"),
        *("match", "pattern", "scanner", "search", "split", "sub", "subn"),
    )

    def __init__(self, source: str, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> object:
        # Threads that come here at once do the same, and `re` keeps what it compiled.
        compiled = re.compile(self._source, self._flags)
        for method in self.__slots__:
            if not method.startswith("_"):
                setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def regex(source: str, flags: int = 0) -> re.Pattern[str]:
    """The expression `source`, compiled at its first use; mistakes in it are found there."""
    return cast(re.Pattern[str], _Expression(source, flags))
