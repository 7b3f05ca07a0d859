"""Hooks of mkdocs (named in mkdocs.yml): equations become pictures, and no page may need the network.

A fenced block ```math holds one equation in LaTeX. GitHub draws such blocks itself; for the site Matplotlib draws
them as SVG, so the pages need neither MathJax nor a network.
"""

from __future__ import annotations

import html
import io
import re
import zlib

from mkdocs.exceptions import PluginError

EQUATION = re.compile(r"^```math\n(.*?)\n```$", re.S | re.M)
LOADED_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^>]*>")
FONT_SIZE_POINTS = 13


def on_page_markdown(markdown: str, page, **_) -> str:
    """Replaces each equation by its picture, with the LaTeX as the text that screen readers say."""
    return EQUATION.sub(lambda found: f'<p class="equation">{drawn(found[1], page.file.src_uri)}</p>', markdown)


def on_post_page(output: str, page, **_) -> str:
    """Refuses a page that loads something from another host."""
    if found := LOADED_FROM_ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from the network: {found[0]}")
    return output


def drawn(latex: str, where: str = "") -> str:
    """One equation as inline SVG in the colour of the text around it. Raises PluginError for what cannot be read."""
    import matplotlib
    from matplotlib.figure import Figure

    one_line = " ".join(latex.split())
    svg = io.StringIO()
    with matplotlib.rc_context({"mathtext.fontset": "cm", "svg.fonttype": "path", "svg.hashsalt": "equation"}):
        figure = Figure(figsize=(0.1, 0.1))
        figure.text(0, 0, f"${one_line}$", fontsize=FONT_SIZE_POINTS, color="#010203")
        try:
            figure.savefig(svg, format="svg", bbox_inches="tight", pad_inches=0.03, transparent=True, metadata={})
        except ValueError as error:
            raise PluginError(f"{where}: Matplotlib cannot draw the equation {one_line!r}: {error}") from error
    picture = svg.getvalue().partition("<svg")[2].replace("#010203", "currentColor")
    prefix = f"m{zlib.crc32(one_line.encode()):x}-"  # ids are unique within a page
    picture = re.sub(r'(id="|"#|url\(#)', rf"\1{prefix}", picture)
    label = html.escape(one_line)
    return f'<svg role="img" aria-label="{label}" {" ".join(picture.split())}'
