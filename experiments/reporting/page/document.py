"""HTML: elements, tables, pictures and the whole document, which needs no other file."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import matplotlib
from matplotlib.figure import Figure

Content = Element | str
STYLE = """
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: #1a1a1a; background: #ffffff;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 }
h2 { margin: 2.5rem 0 0.5rem; padding-top: 0.7rem; border-top: 2px solid #1a1a1a }
h3 { margin: 1.8rem 0 0.3rem; font-size: 1.1rem }
p { max-width: 46rem; margin: 0.5rem 0 }
nav a { margin-right: 1.2rem; display: inline-block }
a { color: #005a8e }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.9rem;
  overflow-wrap: break-word }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #d5d5d5; font-variant-numeric: tabular-nums }
td.number, th.number { text-align: right; white-space: nowrap }
figure { margin: 0.5rem 0 }
figure img { max-width: 100%; height: auto; display: block }
figcaption { max-width: 46rem; font-size: 0.95rem }
.films { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)) }
.note { border-left: 4px solid #e69f00; padding-left: 0.8rem }
details { margin: 0.8rem 0 }
summary { cursor: pointer; font-weight: 600 }
code { font-size: 0.9em }
"""
VECTOR: Any = {  # reproducible files; text as outlines, which no font on the reader's side changes
    "svg.fonttype": "path",
    "svg.hashsalt": "page",
}


def tag(kind: str, /, *content: Content, **attributes: str) -> Element:
    """An element; a trailing underscore of an attribute's name is dropped, as in `class_`."""
    made = Element(kind, {key.rstrip("_"): value for key, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def paragraph(text: str) -> Element:
    return tag("p", text)


def note(text: str) -> Element:
    """A remark that the reader must not miss."""
    return tag("p", text, class_="note")


def section(name: str, title: str, *content: Content) -> Element:
    """A part of the page that the table of contents links to."""
    return tag("section", tag("h2", title), *content, id=name)


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Element:
    """A table; numbers are aligned to the right, and None is a dash."""
    rows = [list(row) for row in rows]
    numeric = [
        all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(len(titles))
    ]

    def cells(kind: str, row: Sequence[Any]) -> Element:
        return tag(
            "tr",
            *(
                tag(kind, shown(value), **({"class": "number"} if right else {}))
                for value, right in zip(row, numeric, strict=True)
            ),
        )

    head = [tag("thead", cells("th", titles))] if any(titles) else []
    body = tag("tbody", *(cells("td", row) for row in rows))
    return tag("div", tag("table", *head, body), class_="wide")


def facts(pairs: Iterable[tuple[str, Any]]) -> Element:
    """Names and values, a row each."""
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", shown(v))) for name, v in pairs]
    return tag("div", tag("table", tag("tbody", *rows)), class_="wide")


def markdown(text: str) -> list[Element]:
    """The paragraphs and tables of `reporting.scores`."""
    parts: list[Element] = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if not block.startswith("|"):
            parts.append(paragraph(block))
            continue
        titles, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
        parts.append(table(titles, rows))
    return parts


def shown(value: Any) -> str:
    """A value as text, numbers with four significant digits or as whole numbers."""
    if value is None:
        return "-"
    if isinstance(value, float):
        text = f"{value:.4g}"
        return f"{value:,.0f}" if "e+" in text else text
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def picture(title: str, figure: Figure, good: str, bad: str, raster: bool = False) -> Element:
    """A plot with what to look for and what would be bad.

    Args:
        raster: whether as PNG, which is smaller for many small parts, rather than as SVG.
    """
    file = io.BytesIO()
    if raster:
        figure.savefig(file, format="png", dpi=110)
    else:
        with matplotlib.rc_context(VECTOR):
            figure.savefig(file, format="svg", metadata={"Date": None})
    kind = "image/png" if raster else "image/svg+xml"
    caption = tag("figcaption", tag("b", "Look for: "), f"{good} ", tag("b", "Bad: "), bad)
    width, height = (str(round(96 * inches)) for inches in figure.get_size_inches())
    image = embedded(kind, file.getvalue(), title, width=width, height=height)
    return tag("figure", tag("h3", title), image, caption)


def embedded(kind: str, data: bytes, description: str, **attributes: str) -> Element:
    """An image within the page."""
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt=description, **attributes)


def document(title: str, sections: list[Element]) -> str:
    """The whole page with a table of contents."""
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    head.append(tag("meta", charset="utf-8"))
    head.append(tag("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head.append(tag("link", rel="icon", href="data:,"))
    head.append(tag("title", title))
    links = [tag("a", part[0].text or "", href=f"#{part.get('id')}") for part in sections]
    body = tag("body", tag("h1", title), tag("nav", *links), *sections)
    html.append(body)
    indent(html)
    head.append(tag("style", STYLE))
    return f"<!doctype html>\n{tostring(html, encoding='unicode', method='html')}\n"
