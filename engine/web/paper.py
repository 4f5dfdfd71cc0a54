"""The pages that customers see: one sheet of paper in the shop's name, in their language, without a script.

A page holds no cookie and asks for no login: the signed link is the proof. GET changes nothing: mail scanners and
previews open every link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from engine.language.project import Project
from engine.rendering.sources import chain

LARGEST_BODY = 16_384
W = TypeVar("W")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True, slots=True)
class Shop:
    """What pages tell of the shop: `topics` is topic → title, `titles` topic → locale → title."""

    name: str
    address: str
    locale: str
    topics: Mapping[str, str]
    titles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project) -> Shop:
        brand = project.brand
        topics = {name: one.title for name, one in project.topics.items()}
        titles = {name: one.titles for name, one in project.topics.items()}
        return cls(brand.name, brand.address, brand.locale, topics, titles)

    def topic(self, name: str, locale: str) -> str:
        """What customers of a locale call a topic."""
        titles = self.titles.get(name, {})
        return next((titles[one] for one in chain(locale, self.locale) if one in titles), self.topics.get(name, name))


_PAGE = Markup(
    """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {brand}</title>
<style>
:root {{ color-scheme: light dark; --ground: #f3ede4; --card: #fff; --ink: #2b2420; --quiet: #6b5f55; --green:
#1f4d3f; --on: #fff9f0; --focus: #b4441f; }} @media (prefers-color-scheme: dark) {{
  :root {{ --ground: #1d1a17; --card: #2a2521; --ink: #f3ede4; --quiet: #c0b5a8; --green: #e9a23b; --on: #231c17;
    --focus: #f2c078; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink);
  font: 18px/1.55 "Helvetica Neue", Helvetica, Arial, sans-serif; }}
main {{ background: var(--card); max-width: 30rem; margin: 1.5rem; padding: 2.5rem; border-top: 8px solid #c4512d; }}
@media (max-width: 30rem) {{ main {{ padding: 2rem 1.5rem; margin: 1rem; }} }}
h1 {{ font: 1.75rem/1.25 Georgia, "Times New Roman", serif; margin: 0 0 1rem; }}
p {{ color: var(--quiet); margin: 0 0 1.5rem; }}
button {{ font: inherit; font-weight: bold; background: var(--green); color: var(--on); border: 0; border-radius: 999px;
  padding: .8rem 1.8rem; cursor: pointer; }}
button:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 3px; }}
button.plain {{ background: none; color: var(--ink); text-decoration: underline; padding: .8rem .4rem; }}
a {{ color: inherit; }} a:focus-visible, input:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 3px; }}
fieldset {{ border: 0; border-top: 1px solid var(--quiet); margin: 0 0 1.25rem; padding: 1rem 0 0; min-width: 0; }}
legend {{ font-weight: bold; padding: 0 .75rem 0 0; }}
.choice {{ display: flex; gap: .75rem; align-items: center; min-height: 44px; cursor: pointer; }}
.choice input {{ width: 1.4rem; height: 1.4rem; flex: none; margin: 0; accent-color: var(--green); }}
.told {{ color: var(--ink); font-weight: bold; border-left: 4px solid var(--green); padding-left: .75rem; }}
.buttons {{ display: flex; flex-wrap: wrap; gap: .75rem; align-items: center; }}
.unseen {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
.scores {{ display: flex; flex-wrap: wrap; gap: .4rem; }}
.score {{ position: relative; cursor: pointer; }}
.score input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }}
.score span {{ display: grid; place-items: center; min-width: 44px; height: 44px; border: 2px solid var(--quiet);
  border-radius: 8px; box-sizing: border-box; }}
.score input:checked + span {{ background: var(--green); border-color: var(--green); color: var(--on);
  font-weight: bold; }}
.score input:focus-visible + span {{ outline: 3px solid var(--focus); outline-offset: 3px; }}
.ends {{ display: flex; justify-content: space-between; gap: 1rem; color: var(--quiet); font-size: .85rem;
  margin-top: .5rem; }}
textarea {{ font: inherit; width: 100%; box-sizing: border-box; margin: .4rem 0 1.25rem; padding: .6rem;
  color: inherit; background: transparent; border: 2px solid var(--quiet); border-radius: 8px; }}
textarea:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 3px; }}
small {{ display: block; color: var(--quiet); margin-top: 2rem; }}
</style>
</head>
<body>
<main>
<h1>{head}</h1>
{body}
<small>{brand}{address}</small>
</main>
</body>
</html>
"""
)


def body(text: str) -> Markup:
    """A paragraph."""
    return Markup("<p>{}</p>").format(text)


def page(shop: Shop, lang: str, title: str, status: int, head: str, content: Markup) -> Response:
    """A page. Its heading says what it is about, or what has just come of something: it is loaded anew each time, so
    nothing in it has to be announced besides."""
    address = Markup("<br>{}").format(shop.address) if shop.address else Markup("")
    html = _PAGE.format(
        lang=lang,
        title=title,
        brand=shop.name,
        head=escape(head),
        body=content,
        address=address,
    )
    return HTMLResponse(html, status_code=status, headers=HEADERS)


def picked(words: Mapping[str, W], *locales: str) -> tuple[W, str]:
    """The words of the first of these locales that there are words in, and their language; else the English ones."""
    for locale in locales:
        for name in chain(locale, "en"):
            if name in words and (name != "en" or locale.startswith("en")):
                return words[name], name
    return words["en"], "en"


def asked_for(request: Request) -> tuple[str, ...]:
    """The languages a browser asks for, when no link says which."""
    return tuple(part.split(";")[0].strip() for part in request.headers.get("accept-language", "")[:200].split(","))


async def posted(request: Request) -> bytes:
    """What was posted; nothing of what is larger than any form of ours."""
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > LARGEST_BODY:
            return b""
    return found


async def form(request: Request) -> dict[str, list[str]]:
    """The fields of a posted form, each with its values."""
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl((await posted(request)).decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:  # no form at all
        return {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
