"""Where progress is written: a text stream that may go away.

A report must not raise, and a pipe's reader may leave (`minibuild build 2>&1 | head`): the build
goes on, and what nobody reads is not written. Read next: `plain`.
"""

from typing import TextIO


class Sink:
    """A stream that takes whole texts at once, and nothing any more after it broke."""

    __slots__ = ("_broken", "_stream")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, text: str) -> None:
        """Write and flush, in one call, so that nothing else gets in between."""
        if self._broken or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True
