"""Rules that hold for each of many files, as one test for each rule.

Comes in: files, and a function that checks one of them. Goes out: a test that names every file that
breaks the rule, and how. A test for each file and rule would be seven thousand tests, which take
longer to be collected and reported than to be run.
"""

from collections.abc import Callable, Iterable
from pathlib import Path


def holds_for(paths: Iterable[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Make a test of a function that raises `AssertionError` for a file that breaks its rule."""
    files = list(paths)

    def decorate(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            broken = []
            for path in files:
                try:
                    check(path)
                except AssertionError as error:
                    broken.append(f"{path}: {error}")
            assert files and not broken, "\n".join(broken)

        test.__name__, test.__qualname__ = check.__name__, check.__qualname__
        test.__module__, test.__doc__ = check.__module__, check.__doc__
        return test

    return decorate
