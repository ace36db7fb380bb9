"""Did you mean: the known word that a misspelt one is nearest to.

Comes in: a word and the words that would be right. Goes out: one of these, or nothing.
Read next: nothing; this is a leaf.
"""

from collections.abc import Iterable
from itertools import islice

_LONGEST = 32
"""Words longer than this are no misspelling of anything here."""

_MOST_KNOWN = 1000
"""So many words are compared: a guess may not take long."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` for the nearest of `known`, or nothing if none is near.

    For words of a Dockerfile: as with BuildKit two slips are few, in a short word too.
    """
    near = nearest(word, known, most=2, short=2)
    return f" (did you mean {near}?)" if near else ""


def one_of(word: str, known: Iterable[str]) -> str:
    """A hint about a word that is none of a few known ones: what was meant, and all of them."""
    words = tuple(known)
    near, every = nearest(word, words, most=len(word) // 3), ", ".join(words) or "none"
    return f"did you mean {near}? There are {every}" if near else f"there are {every}"


def nearest(word: str, known: Iterable[str], most: int = 3, short: int = 1) -> str:
    """The one of `known` with the fewest slips of the finger (`most` at most, `short` in a short
    word), the first of several, or nothing."""
    if len(word) > _LONGEST:
        return ""
    allowed = min(most, short if len(word) <= 3 else 2 if len(word) <= 8 else 3)
    distance, best = min(
        (
            (edit_distance(word.lower(), other.lower()), other)
            for other in islice(known, _MOST_KNOWN)
            if abs(len(word) - len(other)) <= allowed
        ),
        key=lambda found: found[0],
        default=(allowed + 1, ""),
    )
    return best if distance <= allowed else ""


def edit_distance(a: str, b: str) -> int:
    """How many insertions, deletions, replacements and swaps of neighbours make `b` of `a`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row, above = row, [i], before
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
