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
from markupsafe import Markup

from engine.rendering.links import PATH, Subscription, Subscriptions
from engine.web import paper
from engine.web.paper import Shop, picked

OptOut = Callable[[Subscription], None]
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

_FORM = Markup('<form method="post"><button name="unsubscribe" value="yes">{}</button></form>')


def router(subscriptions: Subscriptions, shop: Shop, opt_out: OptOut) -> APIRouter:
    """The routes `GET` and `POST /u/{token}`. `opt_out(subscription)` records the end of consent, at
    once and for all journeys; it may be called twice."""
    routes = APIRouter(prefix=PATH.rstrip("/"), include_in_schema=False)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    def ask(token: str, request: Request) -> Response:
        subscription = subscriptions.read(token)
        if subscription is None:
            return forged(shop, request)
        words, lang, say = _said(shop, subscription)
        return _page(shop, words, lang, 200, say(words.ask), _FORM.format(words.button))

    @routes.post("/{token}")
    async def end(token: str, request: Request) -> Response:
        subscription = subscriptions.read(token)
        if subscription is None:
            return forged(shop, request)
        words, lang, say = _said(shop, subscription)
        if not await _means_it(request):
            return _page(shop, words, lang, 400, say(words.ask), _FORM.format(words.button))
        try:
            await run_in_threadpool(opt_out, subscription)
        except Exception:
            _log.exception("an opt-out could not be recorded")
            return failed(shop, subscription.locale)
        return _page(shop, words, lang, 200, words.done, paper.body(say(words.done_more)))

    return routes


async def _means_it(request: Request) -> bool:
    """Whether the body is the one click of RFC 8058 (as a form of either kind) or our own button's."""
    body = await paper.posted(request)
    return (b"List-Unsubscribe" in body and b"One-Click" in body) or b"unsubscribe=yes" in body


def _said(shop: Shop, subscription: Subscription) -> tuple[Words, str, Callable[[str], str]]:
    words, lang = picked(WORDS, subscription.locale, shop.locale)
    topic = shop.topic(subscription.topic, subscription.locale)
    return words, lang, lambda text: text.format(brand=shop.name, topic=topic)


def forged(shop: Shop, request: Request) -> Response:
    """What somebody gets whose link was not made here, or not exactly like this."""
    words, lang = picked(WORDS, *paper.asked_for(request), shop.locale)
    return _page(shop, words, lang, 404, words.forged, paper.body(words.forged_more))


def failed(shop: Shop, locale: str) -> Response:
    """What somebody gets whose word could not be kept: never that it was."""
    words, lang = picked(WORDS, locale, shop.locale)
    return _page(shop, words, lang, 503, words.failed, paper.body(words.failed_more))


def _page(shop: Shop, words: Words, lang: str, status: int, head: str, content: Markup) -> Response:
    return paper.page(shop, lang, words.title, status, head, content)
