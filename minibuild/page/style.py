"""How the page looks: two schemes of colours, and rules for screens of any width and for paper.

Comes in: nothing. Goes out: a style sheet. The colours are data, so that tests can compute how well
each can be read. No meaning is in a colour alone.
"""

from collections.abc import Mapping

from minibuild.graph.svg import SIGNS

LIGHT: Mapping[str, str] = {
    "bg": "#ffffff", "soft": "#f1f5f9", "ink": "#0f172a", "dim": "#475569", "line": "#cbd5e1",
    "link": "#1d4ed8", "ran": "#9a3412", "cached": "#166534", "failed": "#b91c1c",
    "mark": "#fef9c3", "bar": "#ea580c", "tick": "#16a34a", "rest": "#64748b", "hide": "#b91c1c",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "bg": "#0f172a", "soft": "#1e293b", "ink": "#e2e8f0", "dim": "#a9b6c9", "line": "#475569",
    "link": "#93c5fd", "ran": "#fdba74", "cached": "#86efac", "failed": "#fca5a5",
    "mark": "#3f3a12", "bar": "#fb923c", "tick": "#4ade80", "rest": "#94a3b8", "hide": "#f87171",
}  # fmt: skip
TEXT = ("ink", "dim", "link", "ran", "cached", "failed")
"""Colours of text, to be read on `bg`, `soft` and `mark`."""

SHAPES = ("bar", "tick", "rest", "hide")
"""Colours of shapes, to be seen on `bg` and `soft`."""

_RULES = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:104rem;padding:1rem clamp(.75rem,3vw,2.5rem) 4rem;color:var(--ink);
 background:var(--bg);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:2.25rem 0 .6rem}
p{margin:.4rem 0;max-width:75ch}a{color:var(--link)}
code,pre,.src td,.m{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.85rem}
pre{margin:0;white-space:pre-wrap}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--link);
outline-offset:2px}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:.75rem 0;padding:0;list-style:none}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.75rem 0}
dt{color:var(--dim)}dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--dim);padding:.2rem 0}
th,td{padding:.2rem .75rem .2rem 0;text-align:left;vertical-align:top;
border-top:1px solid var(--line)}
th{color:var(--dim);font-weight:600}thead th{border-top:0;white-space:nowrap}
th.n,td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}.wide table{overflow-wrap:normal}.wide td:last-child{min-width:12rem}
.src{table-layout:fixed}.src col.c1{width:3.5rem}.src col.c3{width:38%}
.src td{padding:.15rem .75rem .15rem 0}
.src td.n{color:var(--dim);padding-right:1rem;user-select:none}
.src pre span[id]{display:block;min-height:1.5em}
.src td.h{font-family:system-ui,sans-serif;font-size:.9rem}
.src tr:target td,.src tr:has(:target) td{background:var(--mark)}
.ran{color:var(--ran)}.cached{color:var(--cached);font-weight:400}
.failed,.stopped{color:var(--failed)}
.dim{color:var(--dim)}ul.c{margin:.1rem 0;padding-left:1.1rem}
details{margin:.25rem 0}
summary{cursor:pointer;color:var(--link);font-family:system-ui,sans-serif;font-size:.85rem}
details>div,details>pre{padding:.4rem .75rem;background:var(--soft);border-radius:4px;
margin:.25rem 0}
details .wide{background:none;padding:0}
.error{border-left:4px solid var(--failed);padding:.5rem 1rem;background:var(--soft)}
svg.t text{fill:var(--ink);font:12px system-ui,sans-serif}svg.t text.d{fill:var(--dim)}
svg.t text.e{text-anchor:end}
svg .g{stroke:var(--line)}svg .l{fill:var(--soft)}
svg .ran{fill:var(--bar)}svg .cached{fill:var(--tick)}svg .failed,svg .stopped{fill:var(--hide)}
svg .rest{fill:var(--rest)}svg .hide{fill:var(--hide)}
svg .chain{stroke:var(--ink);stroke-width:2.5}svg{max-width:none;vertical-align:middle}
.graph{overflow:auto;max-height:85vh;border:1px solid var(--line);border-radius:6px}
.boxes{display:flex;flex-wrap:wrap;gap:.4rem;margin:.4rem 0 1rem;padding:0;list-style:none}
.boxes li{border:1px solid var(--rest);border-radius:4px;padding:.2rem .5rem;max-width:15rem;
font-size:.85rem}
.boxes .parent{background:var(--soft)}.boxes .linked{border-style:dashed;border-width:2px}
.boxes b{display:block;font-size:.75rem;color:var(--dim)}
svg.bar{min-width:5rem;max-width:16rem}
@media(max-width:44rem){
 .src,.src tbody{display:block}.src colgroup,.src thead{display:none}
 .src tr{display:grid;grid-template-columns:2.75rem minmax(0,1fr);
border-top:1px solid var(--line)}
 .src td{border:0}.src td.h{grid-column:2}.src td.h:empty{display:none}
 dl{grid-template-columns:1fr}dd{margin-bottom:.3rem}}
@media print{
 @page{margin:14mm}
 body{max-width:none;padding:0;font-size:10pt}nav{display:none}
a{color:inherit;text-decoration:none}
 .graph,.wide{overflow:visible;max-height:none;border:0}.graph svg{max-width:100%;height:auto}
 tr,li,.lane,svg.t{break-inside:avoid}h2{break-after:avoid}thead{display:table-row-group}
 details{display:block}details>*{display:block}
details::details-content{content-visibility:visible;display:block;height:auto}
 summary{list-style:none;color:inherit;font-weight:600}
 svg,.boxes li,.src tr{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def style_sheet() -> str:
    """The whole of it; paper is always light."""
    light, dark = (
        ";".join(f"--{name}:{colour}" for name, colour in scheme.items())
        for scheme in (LIGHT, DARK)
    )
    signs = "".join(f'b.{name}::before{{content:"{sign} "/""}}' for name, sign in SIGNS.items())
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{signs}{_RULES}"
    )
