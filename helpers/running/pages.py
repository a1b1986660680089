"""Plain HTML pages: one shell, one style sheet, no script, nothing loaded from elsewhere.

One idea: text is escaped where it enters a page, and what still got through cannot act, because each page forbids
scripts and remote content to its browser. So pages open from disk, and corpus text stays text.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping
from html import escape, unescape

import bleach
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

_TAGS = """
    a abbr b blockquote br code dd div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span strong sub sup
    table tbody td tfoot th thead tr ul
""".split()  # noqa: SIM905
_SPANS = ["colspan", "rowspan"]
_ATTRIBUTES = {"a": ["href", "title"], "img": ["src", "alt"], "td": _SPANS, "th": _SPANS}
_ALLOWED = {"tags": set(_TAGS), "attributes": _ATTRIBUTES | {"*": ["class", "id"]}, "protocols": {"https", "mailto"}}
_STYLE = """
:root { --ink: #1d2733; --soft: #5c6b7a; --line: #dfe5ea; --wash: #f5f7f9; --accent: #0b6e8f; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.6 system-ui, "Noto Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
main.narrow { max-width: 54rem; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: .4rem 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .4rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
a { color: var(--accent); text-underline-offset: .15em; }
p.about, figcaption, footer { color: var(--soft); }
.chips { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; margin: 1rem 0; list-style: none; }
.chip { display: inline-block; border-radius: 1rem; padding: .05rem .7rem; font-size: .85rem; font-weight: 600;
  white-space: nowrap; background: #e8ecf0; color: #35424f; }
.chip.completed { background: #dff1e7; color: #14603b; } .chip.failed { background: #fbe3e0; color: #93231a; }
.chip.blocked, .chip.interrupted, .chip.running { background: #fdf0d5; color: #744c00; }
.wide, .output_html, .text_cell_render { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, .dataframe td { text-align: right; white-space: nowrap; }
.dataframe th, .dataframe td { padding: .2rem .6rem; }
details pre { white-space: pre-wrap; } summary { cursor: pointer; }
.figures { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; background: #fff; }
figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: .85rem; margin-top: .5rem; overflow-wrap: anywhere; }
pre, code { font: .86em/1.5 ui-monospace, "Noto Sans Mono", monospace; }
pre { overflow-x: auto; margin: .4rem 0; }
.highlight pre { background: var(--wash); border-radius: .4rem; padding: .7rem .9rem; }
.output_area img { max-width: 100%; height: auto; }
.prompt, .anchor-link { display: none; }
.output_error, .ansi { overflow-x: auto; background: #fdf3f2; border-radius: .4rem; padding: .1rem .9rem; }
.parameters { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .9rem; margin: 0; }
.parameters dt { color: var(--soft); } .parameters dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3rem; font-size: .85rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .9rem 3rem; } h1 { font-size: 1.45rem; }
  .stack thead { display: none; } .stack, .stack tbody, .stack tr, .stack td { display: block; }
  .stack tr { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; margin-bottom: .7rem; }
  .stack td { border: 0; padding: .1rem 0; text-align: left; overflow-wrap: anywhere; }
  .stack td:empty { display: none; }
  .stack td[data-name]:not([data-name=""])::before { content: attr(data-name) "  "; color: var(--soft); }
}
@media print { .figures { display: block; } figure { break-inside: avoid; margin-bottom: 1rem; } }
"""


def plain(markdown: str, most: int = 480) -> str:
    """The words of a text in Markdown without markup and tables, cut after a whole word where it is longer."""
    lines = "\n".join(line for line in markdown.splitlines() if not line.lstrip().startswith("|"))
    joined = re.sub(r"(?<=[^:\s])\n+- ", "; ", lines)  # items of a list are read one after the other
    text = " ".join(unescape(bleach.clean(markdown2html(joined), tags=set(), strip=True)).split())
    return textwrap.shorten(text, most, placeholder=" …")


def page(title: str, body: str, *, narrow: bool = False) -> str:
    """A whole HTML page of a title, escaped here, and a body, escaped by whoever made it."""
    policy = "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'"
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{colours}{_STYLE}</style>
</head>
<body>
<main{' class="narrow"' if narrow else ""}>
{body}
</main>
</body>
</html>
"""


def table(rows: Iterable[Mapping[str, str]], numbers: Iterable[str] = ()) -> str:
    """A table of cells that are HTML already, columns by the first row's names; on a phone each row is a card."""
    rows = list(rows)
    names = list(rows[0]) if rows else []
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in names)
    lines = []
    for row in rows:
        kinds = {name: " class='number'" if name in numbers else "" for name in names}
        cells = (f"<td{kinds[name]} data-name='{escape(name)}'>{row[name]}</td>" for name in names)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    inside = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class='wide'><table class='stack'>{inside}</table></div>"


def chip(text: str, kind: str = "") -> str:
    """A short word in a coloured pill."""
    return f"<span class='chip {escape(kind or text)}'>{escape(text)}</span>"


def figure(path: str, caption: str, alt: str) -> str:
    """A figure that links to itself at full size."""
    image = f"<img src='{escape(path)}' alt='{escape(alt)}' loading='lazy'>"
    return f"<figure><a href='{escape(path)}'>{image}</a><figcaption>{escape(caption)}</figcaption></figure>"


def folded(summary: str, body: str) -> str:
    """A body, HTML already, that shows when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def parameters(values: Mapping[str, object]) -> str:
    """Names and values as a definition list."""
    return f"<dl class='parameters'>{''.join(_term(name, value) for name, value in values.items())}</dl>"


def notebook(book: nbformat.NotebookNode) -> str:
    """The body of an executed notebook: prose, code and outputs, the HTML among them reduced to harmless tags."""
    exporter = HTMLExporter(template_name="basic", sanitize_html=True, filters={"clean_html": _clean})
    clean = nbformat.from_dict(book | {"cells": [_cell(cell) for cell in book.cells]})
    return exporter.from_notebook_node(clean)[0]


def _clean(html: str | bytes) -> str:
    """The HTML with any tag that is not for text, tables and pictures shown as the text it is."""
    return bleach.clean(html.decode() if isinstance(html, bytes) else html, **_ALLOWED)


def _term(name: str, value: object) -> str:
    shown = str(value) if value not in ("", [], {}) else "–"
    return f"<dt>{escape(name)}</dt><dd>{escape(shown)}</dd>"


def _cell(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The cell without what means nothing on paper: widgets, progress bars and their leftovers."""
    outputs = [out for out in map(_output, cell.get("outputs", [])) if out]
    return nbformat.from_dict(cell | ({"outputs": outputs} if "outputs" in cell else {}))


def _output(output: Mapping) -> dict | None:
    """The output as it goes on a page; None to drop it."""
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data:
        return None
    if output.get("output_type") == "stream":
        lines = [line.rpartition("\r")[2] for line in output["text"].split("\n")]
        text = "\n".join(line for line in lines if not re.search(r"\d%\||it/s\]", line))
        return output | {"text": text} if text.strip() else None
    if "text/html" in data:
        html = re.sub(r"<(style|script)\b.*?</\1\s*>", "", "".join(data["text/html"]), flags=re.S | re.I)
        return output | {"data": data | {"text/html": html}}
    return output
