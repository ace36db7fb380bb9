"""Pages in a real browser: `python -m tests.browser PAGE... [--out DIR]`, which takes Chromium.

Comes in: HTML files, such as `build --report` writes. Goes out: what is wrong with them (a request,
a line on the console, something wider than the window at one of three widths), and screenshots,
light and dark, and a PDF to look at. Debian's package is `chromium`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

WIDTHS = (400, 900, 1600)
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --allow-file-access-from-files "
    "--force-color-profile=srgb --enable-logging=stderr"
).split()
_FRAME = """\
<!doctype html><body style="margin:0"><iframe id="f" src="{page}" width="{width}" height="800"
 style="border:0"></iframe><script>f.onload = () => {{
 const d = f.contentDocument, wide = d.documentElement.scrollWidth;
 const over = [...d.querySelectorAll("main *")].filter(e => !e.closest(".wide,.graph,svg") &&
  e.getBoundingClientRect().right > {width} + 1).length;
 document.title = JSON.stringify({{wide, over, high: d.documentElement.scrollHeight}}) }}</script>
"""


class Browser:
    """A browser with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder

    def run(self, page: Path, *flags: str) -> tuple[str, str]:
        """Show a page: what came on standard output, and on standard error."""
        done = subprocess.run(
            [
                self._program,
                *_FLAGS,
                f"--user-data-dir={self._folder}/profile",
                *flags,
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout, done.stderr

    def requests(self, page: Path) -> list[str]:
        """What the page asks for, other than itself; what the browser asks for is with it."""
        log = self._folder / "net.json"
        self.run(page, f"--log-net-log={log}", "--dump-dom")
        events = json.loads(log.read_text())["events"]
        asked = {str(event.get("params", {}).get("url", "")) for event in events}
        wanted = (url for url in asked if url.startswith(("http", "ws", "ftp")))
        return sorted({url.partition("?")[0] for url in wanted})

    def measured(self, page: Path, width: int) -> dict[str, int]:
        """The size of the page in a window of a width, and how many elements are wider."""
        frame = self._folder / "frame.html"
        frame.write_text(_FRAME.format(page=page.as_uri(), width=width))
        dom, _ = self.run(
            frame, "--virtual-time-budget=2000", "--window-size=1700,900", "--dump-dom"
        )
        found: dict[str, int] = json.loads(dom.partition("<title>")[2].partition("</title>")[0])
        return found


def wrong(browser: Browser, page: Path, out: Path, usual: list[str]) -> Iterator[str]:
    """What is wrong with a page."""
    yield from (f"asks for {url}" for url in browser.requests(page) if url not in usual)
    for width in WIDTHS:
        found = browser.measured(page, width)
        if found["wide"] > width or found["over"]:
            yield f"at {width} pixels it is {found['wide']} wide, {found['over']} elements too wide"
        for scheme, flag in (("light", 1), ("dark", 0)):
            picture = out / f"{page.stem}-{width}-{scheme}.png"
            size = f"--window-size={max(width, 500)},{min(found['high'], 6000)}"
            setting = f"--blink-settings=preferredColorScheme={flag}"
            _, said = browser.run(page, size, setting, f"--screenshot={picture}")
            yield from (line for line in said.splitlines() if "CONSOLE" in line)
    paper = out / f"{page.stem}.pdf"
    browser.run(page, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    if paper.stat().st_size < 10_000:
        yield "nothing is printed"


def main() -> int:
    """Look at pages. The exit code is 1 if something is wrong."""
    made = argparse.ArgumentParser(description="look at pages in a browser")
    made.add_argument("pages", nargs="+", type=Path)
    made.add_argument("--out", type=Path, default=Path("."), help="where pictures go")
    made.add_argument("--browser", default="chromium")
    given = made.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        browser, empty = Browser(given.browser, Path(folder)), Path(folder, "empty.html")
        empty.write_text("<!doctype html><title>empty</title>")
        usual = browser.requests(empty)
        for page in given.pages:
            found = list(wrong(browser, page.absolute(), given.out, usual))
            code = code or bool(found)
            for line in found or ["as it should be"]:
                sys.stdout.write(f"{page}: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
