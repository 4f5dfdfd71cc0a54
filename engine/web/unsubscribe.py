"""The way out: the page behind the unsubscribe link, and the one click of RFC 8058.

GET changes nothing: mail scanners and previews open every link. POST needs no cookie and no login: the token is the
proof, and the mail program that posts for its user has neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from engine.rendering.links import PATH, Subscription, Subscriptions
from engine.rendering.sources import chain

OptOut = Callable[[str, str, str], None]
_LARGEST_BODY = 16_384
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says, in one language. `{brand}` and `{topic}` are put in."""

    title: str
    ask: str
    button: str
    done: str
    done_more: str
    forged: str
    forged_more: str
    failed: str
    failed_more: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        title="Unsubscribe",
        ask="Shall {brand} stop sending you “{topic}”?",
        button="Yes, unsubscribe me",
        done="Done. You are off the list.",
        done_more="{brand} sends you no more “{topic}”. Messages about your orders still come.",
        forged="This link doesn't work.",
        forged_more="It may have been cut off on its way. Please open it again from the mail itself.",
        failed="That didn't work just now.",
        failed_more="The fault is ours. Please try again in a few minutes.",
    ),
    "sw": Words(
        title="Jiondoe",
        ask="Je, {brand} waache kukutumia “{topic}”?",
        button="Ndiyo, niondoeni",
        done="Tayari. Umeondolewa kwenye orodha.",
        done_more="{brand} hawatakutumia “{topic}” tena. Ujumbe kuhusu oda zako utaendelea kuja.",
        forged="Kiungo hiki hakifanyi kazi.",
        forged_more="Huenda kilikatika njiani. Tafadhali kifungue tena kutoka kwenye barua pepe yenyewe.",
        failed="Imeshindikana kwa sasa.",
        failed_more="Kosa ni letu. Tafadhali jaribu tena baada ya dakika chache.",
    ),
    "hy": Words(
        title="Հրաժարվել բաժանորդագրությունից",
        ask="{brand}-ը դադարեցնի՞ ուղարկել Ձեզ «{topic}»։",
        button="Այո, հանեք ինձ ցանկից",
        done="Պատրաստ է։ Դուք այլևս ցանկում չեք։",
        done_more="{brand}-ն այլևս չի ուղարկի Ձեզ «{topic}»։ Ձեր պատվերների մասին նամակները կշարունակեն գալ։",
        forged="Այս հղումը չի աշխատում։",
        forged_more="Հնարավոր է՝ այն ճանապարհին կտրվել է։ Խնդրում ենք նորից բացել այն հենց նամակից։",
        failed="Այս պահին չհաջողվեց։",
        failed_more="Մեղքը մերն է։ Խնդրում ենք փորձել մի քանի րոպեից։",
    ),
    "fil": Words(
        title="Mag-unsubscribe",
        ask="Ititigil na ba ng {brand} ang pagpapadala sa iyo ng “{topic}”?",
        button="Oo, alisin ninyo ako",
        done="Tapos na. Wala ka na sa listahan.",
        done_more="Hindi ka na padadalhan ng {brand} ng “{topic}”. Darating pa rin ang mga mensahe sa mga order mo.",
        forged="Hindi gumagana ang link na ito.",
        forged_more="Maaaring naputol ito sa daan. Pakibuksan itong muli mula mismo sa email.",
        failed="Hindi ito gumana ngayon.",
        failed_more="Kami ang may pagkakamali. Pakisubukang muli pagkaraan ng ilang minuto.",
    ),
}

_PAGE = Markup(
    """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {brand}</title>
<style>
:root {{ color-scheme: light dark; --ground: #f3ede4; --card: #fff; --ink: #2b2420; --quiet: #6b5f55; --green:
#1f4d3f; --on: #fff9f0; }} @media (prefers-color-scheme: dark) {{
  :root {{ --ground: #1d1a17; --card: #2a2521; --ink: #f3ede4; --quiet: #c0b5a8; --green: #e9a23b; --on: #231c17; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink);
  font: 18px/1.55 "Helvetica Neue", Helvetica, Arial, sans-serif; }}
main {{ background: var(--card); max-width: 30rem; margin: 1.5rem; padding: 2.5rem; border-top: 8px solid #c4512d; }}
h1 {{ font: 1.75rem/1.25 Georgia, "Times New Roman", serif; margin: 0 0 1rem; }}
p {{ color: var(--quiet); margin: 0 0 1.5rem; }}
button {{ font: inherit; font-weight: bold; background: var(--green); color: var(--on); border: 0; border-radius: 999px;
  padding: .8rem 1.8rem; cursor: pointer; }}
button:focus-visible {{ outline: 3px solid #e9a23b; outline-offset: 3px; }}
small {{ display: block; color: var(--quiet); margin-top: 2rem; }}
</style>
</head>
<body>
<main>
<h1{role}>{head}</h1>
{body}
<small>{brand}{address}</small>
</main>
</body>
</html>
"""
)
_FORM = Markup('<form method="post"><button name="unsubscribe" value="yes">{}</button></form>')


@dataclass(frozen=True, slots=True)
class Shop:
    """What the page tells of the shop: `topics` is topic → title."""

    name: str
    address: str
    locale: str
    topics: Mapping[str, str]


def router(subscriptions: Subscriptions, shop: Shop, opt_out: OptOut) -> APIRouter:
    """The routes `GET` and `POST /u/{token}`. `opt_out(customer, channel, topic)` records the end of consent, at
    once and for all journeys; it may be called twice."""
    routes = APIRouter(prefix=PATH.rstrip("/"), include_in_schema=False)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    def ask(token: str, request: Request) -> Response:
        subscription = subscriptions.read(token)
        if subscription is None:
            return _forged(shop, request)
        words, lang, say = _said(shop, subscription)
        return _page(shop, words, lang, 200, say(words.ask), _FORM.format(words.button))

    @routes.post("/{token}")
    async def end(token: str, request: Request) -> Response:
        subscription = subscriptions.read(token)
        if subscription is None:
            return _forged(shop, request)
        words, lang, say = _said(shop, subscription)
        if not await _means_it(request):
            return _page(shop, words, lang, 400, say(words.ask), _FORM.format(words.button))
        try:
            await run_in_threadpool(opt_out, subscription.customer, subscription.channel, subscription.topic)
        except Exception:
            _log.exception("an opt-out could not be recorded")
            return _page(shop, words, lang, 503, words.failed, Markup("<p>{}</p>").format(words.failed_more))
        return _page(shop, words, lang, 200, words.done, Markup("<p>{}</p>").format(say(words.done_more)))

    return routes


async def _means_it(request: Request) -> bool:
    """Whether the body is the one click of RFC 8058 (as a form of either kind) or our own button's."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            return False
    return (b"List-Unsubscribe" in body and b"One-Click" in body) or b"unsubscribe=yes" in body


def _words(*locales: str) -> tuple[Words, str]:
    for locale in locales:
        for name in chain(locale, "en"):
            if name in WORDS and (name != "en" or locale.startswith("en")):
                return WORDS[name], name
    return WORDS["en"], "en"


def _said(shop: Shop, subscription: Subscription) -> tuple[Words, str, Callable[[str], str]]:
    words, lang = _words(subscription.locale, shop.locale)
    topic = shop.topics.get(subscription.topic, subscription.topic)
    return words, lang, lambda text: text.format(brand=shop.name, topic=topic)


def _forged(shop: Shop, request: Request) -> Response:
    asked = request.headers.get("accept-language", "")[:200]
    words, lang = _words(*(part.split(";")[0].strip() for part in asked.split(",")), shop.locale)
    return _page(shop, words, lang, 404, words.forged, Markup("<p>{}</p>").format(words.forged_more))


def _page(shop: Shop, words: Words, lang: str, status: int, head: str, body: Markup) -> Response:
    address = Markup("<br>{}").format(shop.address) if shop.address else Markup("")
    html = _PAGE.format(
        lang=lang,
        title=words.title,
        brand=shop.name,
        head=escape(head),
        role=Markup(' role="status"') if status != 200 or body.startswith("<p>") else Markup(""),
        body=body,
        address=address,
    )
    return HTMLResponse(html, status_code=status, headers=_HEADERS)
