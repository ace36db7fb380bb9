"""How much room a text takes on a terminal, and texts cut to the room there is.

Comes in: text without control characters. Goes out: cells, the squares a terminal is made of:
two for most East Asian characters, none for combining marks. Source: Unicode Annex 11.
Read next: `screen`.
"""


def cells(text: str) -> int:
    """The number of cells that `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, room: int) -> str:
    """`text`, or its beginning and an ellipsis, in at most `room` cells."""
    if cells(text) <= room:
        return text
    if room < 1:
        return ""
    text = text[:room]
    while cells(text) > room - 1:
        text = text[:-1]
    return text + "…"
