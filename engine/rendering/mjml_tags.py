"""Which MJML tags there are, what may stand in them, and which HTML a text may hold.

The MJML compiler drops what it doesn't know without a word. A mail that silently lost its button is
worse than one refused.
"""

from __future__ import annotations

from collections.abc import Mapping

# Attributes that come in groups.
_GROUPS = {
    "+box": "padding padding-top padding-right padding-bottom padding-left container-background-color align",
    "+font": "color font-family font-size font-style font-weight letter-spacing line-height "
    "text-decoration text-transform",
    "+line": "border border-bottom border-left border-radius border-right border-top",
    "+back": "background-color background-url background-repeat background-size background-position "
    "background-position-x background-position-y",
    "+link": "href name rel target title",
    "+section": "+back +line +box direction full-width text-align text-padding gap",
    "+image": "alt height sizes src srcset usemap width",
}
# tag | where it may stand | its own attributes
_TABLE = """
    mjml              |                            | lang dir owa
    mj-head           | mjml                       |
    mj-body           | mjml                       | background-color width
    mj-title          | mj-head                    |
    mj-preview        | mj-head                    |
    mj-style          | mj-head                    | inline
    mj-font           | mj-head                    | name href
    mj-breakpoint     | mj-head                    | width
    mj-attributes     | mj-head                    |
    mj-all            | mj-attributes              |
    mj-class          | mj-attributes              |
    mj-wrapper        | mj-body                    | +section
    mj-section        | mj-body mj-wrapper         | +section
    mj-hero           | mj-body mj-wrapper         | +section mode height width vertical-align background-height background-width
    mj-group          | mj-section                 | background-color direction vertical-align width
    mj-column         | mj-section mj-group        | +line +box background-color vertical-align width inner-border inner-border-radius inner-background-color
    mj-text           | mj-column mj-hero          | +font +box height vertical-align
    mj-button         | mj-column mj-hero          | +font +line +box +link background-color height inner-padding text-align vertical-align width
    mj-image          | mj-column mj-hero          | +line +box +link +image fluid-on-mobile max-height
    mj-divider        | mj-column mj-hero          | +box border-color border-style border-width width
    mj-spacer         | mj-column mj-hero          | +box height
    mj-table          | mj-column mj-hero          | +font +box border cellpadding cellspacing role table-layout width
    mj-social         | mj-column                  | +font +box border-radius icon-height icon-padding icon-size inner-padding mode text-padding
    mj-social-element | mj-social                  | +font +box +link +image background-color border-radius icon-height icon-padding icon-position icon-size text-padding vertical-align
    mj-navbar         | mj-column mj-section       | align base-url hamburger
    mj-navbar-link    | mj-navbar                  | +font +box +link
    mj-raw            | mj-body mj-wrapper mj-section mj-group mj-column mj-hero |
"""  # noqa: E501


def _spread(words: str) -> frozenset[str]:
    out: set[str] = set()
    for word in words.split():
        out |= _spread(_GROUPS[word]) if word.startswith("+") else {word}
    return frozenset(out)


_ROWS = [[cell.strip() for cell in row.split("|")] for row in _TABLE.strip().splitlines()]
PARENTS: Mapping[str, frozenset[str]] = {tag: frozenset(parents.split()) for tag, parents, _ in _ROWS}
ATTRIBUTES: Mapping[str, frozenset[str]] = {
    tag: _spread(attributes) | {"css-class", "mj-class"} for tag, _, attributes in _ROWS
}
# What these hold is HTML, not MJML.
ENDING = _spread("mj-text mj-button mj-table mj-raw mj-title mj-preview mj-style mj-social-element mj-navbar-link")
# Where an `if` or a `for` may stand between elements.
BETWEEN = frozenset({"mj-body", "mj-wrapper", "mj-section", "mj-column", "mj-hero"})
HTML = _spread(
    "a abbr b blockquote br center code del div em font h1 h2 h3 h4 h5 h6 hr i img ins li ol p pre s small span strike "
    "strong sub sup table tbody td tfoot th thead tr u ul wbr"
)
VOID = frozenset({"br", "hr", "img", "wbr"})
