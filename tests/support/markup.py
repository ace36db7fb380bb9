"""HTML, read as strictly as a validator would for what a page may hold, by the standard library."""

import re
from html.parser import HTMLParser

INLINE = {"a", "b", "span", "strong", "code"}
VOID = {"meta", "br", "col", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """A document: its elements, in order, each with the names of those around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.raw = text
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.text: list[str] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{name}> is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.problems.append(f"<{tag}> has an attribute twice")
        self.elements.append((tag, {k: v or "" for k, v in attrs}, tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in INLINE:
            self.text.append(" ")
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes, _ in self.elements if name == tag]

    @property
    def words(self) -> str:
        """All that is to be read."""
        return " ".join("".join(self.text).split())


def problems(page: Page) -> list[str]:
    """What is wrong with a page that is to need nothing, and to be read by everybody."""
    found = list(page.problems)
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    # Pictures bring shapes of the same name, which are the same.
    own = [id for id in ids if id not in ("mb-tip", "mb-box", "mb-low")]
    found += [f"id {id} twice" for id in {id for id in own if own.count(id) > 1}]
    for tag, attributes, around in page.elements:
        found += [f"<{tag} {name}>" for name in attributes if name.startswith("on")]
        if tag in ("script", "img", "iframe", "object", "embed", "link", "form", "input", "base"):
            found.append(f"<{tag}>")
        for name in ("href", "src", "xlink:href", "action", "data"):
            target = attributes.get(name)
            if target is not None and not (target.startswith("#") and target[1:] in ids):
                found.append(f"{name}={target} leads nowhere")
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            if not (attributes.get("role") and attributes.get("aria-label")):
                found.append("a picture has no name")
            if "section" not in around:
                found.append("a picture is in no section")
        if tag == "th" and attributes.get("scope") not in ("col", "row"):
            found.append("a head of a table has no scope")
        if "overflow" in attributes.get("class", "") and "tabindex" not in attributes:
            found.append("what scrolls cannot be reached")
    found += _without_tables(page)
    found += [f"{word} in the style" for word in ("url(", "@import", "expression(")
              if word in page.raw.partition("</style>")[0]]  # fmt: skip
    if page.all("html") and page.all("html")[0].get("lang") != "en":
        found.append("no language")
    if not re.search(r"<title>[^<]+</title>", page.raw):
        found.append("no title")
    return found


def _without_tables(page: Page) -> list[str]:
    """Sections that have a picture and no table."""
    found = []
    for part in page.raw.split("<section ")[1:]:
        whole = part.partition("</section>")[0]
        if "<svg" in whole and "<table" not in whole:
            found.append(f"a picture without a table: {whole[:40]}")
    return found
