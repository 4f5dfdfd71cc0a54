"""The second yes of a double opt-in: the page behind a confirmation's link."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from markupsafe import Markup

from engine.app import App
from engine.rendering.links import CONFIRM, Confirmation, Preferences
from engine.runtime import preferences
from engine.web import paper, unsubscribe
from engine.web import preferences as choices
from engine.web.paper import Shop, picked

log = logging.getLogger("karibu.web")


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says, in one language. `{brand}`, `{topic}` and `{by}` (e-mail, SMS) are put in."""

    title: str
    ask: str
    button: str
    more: str
    done: str
    done_more: str
    late: str
    late_more: str
    choices: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        title="Confirm",
        ask="May {brand} send you “{topic}” {by}?",
        button="Yes, I agree",
        more="You can change your mind at any time: every message has a link for it.",
        done="Thank you. You are on the list.",
        done_more="{brand} sends you “{topic}” {by}.",
        late="This link doesn't work any more.",
        late_more="It is too old, or you have said no since, or your address has changed.",
        choices="Change what you get",
    ),
    "sw": Words(
        title="Thibitisha",
        ask="Je, {brand} wakutumie “{topic}” {by}?",
        button="Ndiyo, ninakubali",
        more="Unaweza kubadilisha nia wakati wowote: kila ujumbe una kiungo cha kufanya hivyo.",
        done="Asante. Umo kwenye orodha.",
        done_more="{brand} watakutumia “{topic}” {by}.",
        late="Kiungo hiki hakifanyi kazi tena.",
        late_more="Ni cha zamani mno, au umekataa baadaye, au anwani yako imebadilika.",
        choices="Badilisha unachopokea",
    ),
    "hy": Words(
        title="Հաստատում",
        ask="Կարո՞ղ է {brand}-ը ուղարկել Ձեզ «{topic}» {by}։",
        button="Այո, համաձայն եմ",
        more="Կարող եք ցանկացած պահի փոխել որոշումը. ամեն հաղորդագրություն դրա համար հղում ունի։",
        done="Շնորհակալություն։ Դուք ցանկում եք։",
        done_more="{brand}-ը կուղարկի Ձեզ «{topic}» {by}։",
        late="Այս հղումն այլևս չի աշխատում։",
        late_more="Այն շատ հին է, կամ Դուք հետո հրաժարվել եք, կամ Ձեր հասցեն փոխվել է։",
        choices="Փոխել, թե ինչ եք ստանում",
    ),
    "fil": Words(
        title="Kumpirmahin",
        ask="Maaari ka bang padalhan ng {brand} ng “{topic}” {by}?",
        button="Oo, sumasang-ayon ako",
        more="Maaaring magbago ang isip mo kahit kailan: may link para riyan ang bawat mensahe.",
        done="Salamat. Nasa listahan ka na.",
        done_more="Padadalhan ka ng {brand} ng “{topic}” {by}.",
        late="Hindi na gumagana ang link na ito.",
        late_more="Masyado na itong luma, o tumanggi ka na pagkatapos, o nagbago ang address mo.",
        choices="Baguhin ang natatanggap mo",
    ),
}

_FORM = Markup('<p>{more}</p><form method="post"><button name="confirm" value="yes">{button}</button></form>')
_CHOICES = Markup('<p><a href="{url}">{text}</a></p>')


def router(site: Callable[[], App]) -> APIRouter:
    """The routes `GET` and `POST /confirm/{token}`. Only the POST of the page's own button says yes."""
    routes = APIRouter(prefix=CONFIRM.rstrip("/"), include_in_schema=False)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    def ask(token: str, request: Request) -> Response:
        app = site()
        asked = app.pages.read_confirm(token)
        if asked is None:
            return unsubscribe.forged(Shop.of(app.content.project), request)
        return _answered(app, asked, request, says_yes=False)

    @routes.post("/{token}")
    async def confirm(token: str, request: Request) -> Response:
        app = site()
        asked = app.pages.read_confirm(token)
        if asked is None:
            return unsubscribe.forged(Shop.of(app.content.project), request)
        says_yes = "confirm" in await paper.form(request)
        try:
            return await run_in_threadpool(_answered, app, asked, request, says_yes=says_yes)
        except Exception as error:  # nobody must read that they are on a list which doesn't know them
            log.error("a confirmation could not be kept: %s", type(error).__name__)
            return unsubscribe.failed(Shop.of(app.content.project), asked.locale)

    return routes


def _answered(app: App, asked: Confirmation, request: Request, *, says_yes: bool) -> Response:
    shop, now = Shop.of(app.content.project), app.clock.now()
    words, lang = picked(WORDS, asked.locale, shop.locale)
    by = choices.WORDS[lang].channels.get(asked.channel, asked.channel)
    topic = shop.topic(asked.topic, asked.locale)

    def say(text: str) -> str:
        return text.format(brand=shop.name, topic=topic, by=by)

    with app.database.read() as connection:
        stands = preferences.standing(connection, asked, now)
    if stands == "nobody":
        return unsubscribe.forged(shop, request)
    if stands == "late":
        url = app.pages.preferences(Preferences(asked.customer, asked.channel, asked.address_hash, asked.locale))
        more = paper.body(words.late_more) + _CHOICES.format(url=url, text=words.choices)
        return paper.page(shop, lang, words.title, 410, words.late, more)
    if stands == "open":
        if not says_yes:
            form = _FORM.format(more=words.more, button=words.button)
            return paper.page(shop, lang, words.title, 200, say(words.ask), form)
        proof = f"{say(words.ask)} {words.button} ({lang})"
        app.runtime.ingest([preferences.confirmed(asked, proof, now)])
    return paper.page(shop, lang, words.title, 200, words.done, paper.body(say(words.done_more)))
