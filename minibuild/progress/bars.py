"""Progress bars as text: the one place that imports tqdm.

Comes in: how far a part of a step is. Goes out: one line. tqdm computes rate and remaining time
and draws the bar; where on the screen it goes is `screen`'s business, because bars, steps and
their output share it. tqdm takes 0.1 s to import, so this module is imported when the first
bar is due and not before.
"""

from tqdm import tqdm

from minibuild.events import Status
from minibuild.progress.cells import cut

_NAME_CELLS = 32


def bar(status: Status, now: float, columns: int, *, ascii_only: bool) -> str:
    """A bar for a part of a step, at most `columns` cells wide."""
    elapsed_s = max(now - status.started, 1e-3)
    text: str = tqdm.format_meter(
        n=status.current,
        total=max(status.total, status.current) if status.total else None,
        elapsed=elapsed_s,
        ncols=columns,
        prefix=cut(status.part, min(_NAME_CELLS, columns // 2)),
        ascii=ascii_only,
        unit="B" if status.unit == "B" else " " + status.unit,
        unit_scale=status.unit == "B",
    )
    return cut(text, columns)
