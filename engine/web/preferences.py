"""A customer's own page: every topic on every channel that reaches them, saved with one POST."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from markupsafe import Markup

from engine.app import App
from engine.rendering.links import PREFERENCES, Preferences
from engine.runtime import feedback, preferences
from engine.runtime.preferences import Choices, Pair
from engine.web import paper, unsubscribe
from engine.web.paper import Shop, picked

log = logging.getLogger("karibu.web")


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says, in one language. `{brand}` is put in; `channels` is how each brings a message."""

    title: str
    ask: str
    channels: Mapping[str, str]
    pending: str
    save: str
    nothing: str
    orders: str
    saved: str
    left: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        title="Your choices",
        ask="What may {brand} send you?",
        channels={
            "email": "by e-mail",
            "sms": "by SMS",
            "whatsapp": "by WhatsApp",
            "telegram": "by Telegram",
            "push": "as a notification",
        },
        pending="waits for your confirmation",
        save="Save my choices",
        nothing="Unsubscribe from everything",
        orders="Messages about your orders always come.",
        saved="Your choices are saved.",
        left="Done. {brand} sends you nothing more of this.",
    ),
    "sw": Words(
        title="Chaguo zako",
        ask="{brand} wakutumie nini?",
        channels={
            "email": "kwa barua pepe",
            "sms": "kwa SMS",
            "whatsapp": "kwa WhatsApp",
            "telegram": "kwa Telegram",
            "push": "kama arifa",
        },
        pending="inasubiri uthibitisho wako",
        save="Hifadhi chaguo zangu",
        nothing="Niondoeni kwenye kila kitu",
        orders="Ujumbe kuhusu oda zako utaendelea kuja.",
        saved="Chaguo zako zimehifadhiwa.",
        left="Tayari. {brand} hawatakutumia haya tena.",
    ),
    "hy": Words(
        title="Ձեր ընտրությունը",
        ask="Ի՞նչ կարող է {brand}-ը ուղարկել Ձեզ։",
        channels={
            "email": "էլ. փոստով",
            "sms": "SMS-ով",
            "whatsapp": "WhatsApp-ով",
            "telegram": "Telegram-ով",
            "push": "որպես ծանուցում",
        },
        pending="սպասում է Ձեր հաստատմանը",
        save="Պահպանել ընտրությունս",
        nothing="Հրաժարվել ամեն ինչից",
        orders="Ձեր պատվերների մասին հաղորդագրությունները միշտ կգան։",
        saved="Ձեր ընտրությունը պահպանված է։",
        left="Պատրաստ է։ {brand}-ն այլևս սա չի ուղարկի Ձեզ։",
    ),
    "fil": Words(
        title="Ang mga pinili mo",
        ask="Ano ang maaaring ipadala sa iyo ng {brand}?",
        channels={
            "email": "sa email",
            "sms": "sa SMS",
            "whatsapp": "sa WhatsApp",
            "telegram": "sa Telegram",
            "push": "bilang notification",
        },
        pending="hinihintay ang kumpirmasyon mo",
        save="I-save ang mga pinili ko",
        nothing="Mag-unsubscribe sa lahat",
        orders="Laging darating ang mga mensahe tungkol sa mga order mo.",
        saved="Na-save na ang mga pinili mo.",
        left="Tapos na. Hindi ka na padadalhan ng {brand} ng mga ito.",
    ),
}

_BOX = Markup(
    '<label class="choice"><input type="checkbox" name="yes" value="{value}"{checked}>'
    '<span>{by}{note}</span><input type="hidden" name="shown" value="{value}"></label>'
)
_TOPIC = Markup("<fieldset><legend>{title}</legend>{boxes}</fieldset>")
_FORM = Markup(
    '{status}<form method="post">{topics}<p class="buttons">{save} '
    '<button class="plain" name="nothing" value="yes">{nothing}</button></p><p>{orders}</p></form>'
)
_SAVE = Markup("<button>{}</button>")
_STATUS = Markup('<p class="told" role="status">{}</p>')


def router(site: Callable[[], App]) -> APIRouter:
    """The routes `GET` and `POST /preferences/{token}`."""
    routes = APIRouter(prefix=PREFERENCES.rstrip("/"), include_in_schema=False)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    def show(token: str, request: Request) -> Response:
        app = site()
        whose = app.pages.read_preferences(token)
        return unsubscribe.forged(_shop(app), request) if whose is None else _shown(app, whose, request)

    @routes.post("/{token}")
    async def save(token: str, request: Request) -> Response:
        app = site()
        whose = app.pages.read_preferences(token)
        if whose is None:
            return unsubscribe.forged(_shop(app), request)
        fields = await paper.form(request)
        try:
            return await run_in_threadpool(_saved, app, whose, fields, request)
        except Exception as error:  # a customer must never read that a choice is kept which isn't
            log.error("choices could not be kept: %s", type(error).__name__)
            return unsubscribe.failed(_shop(app), whose.locale)

    return routes


def _shop(app: App) -> Shop:
    return Shop.of(app.content.project)


def _shown(app: App, whose: Preferences, request: Request, status: str = "", code: int = 200) -> Response:
    with app.database.read() as connection:
        found = preferences.choices(connection, app.content.project, whose)
    shop = _shop(app)
    if found is None:
        return unsubscribe.forged(shop, request)
    words, lang = picked(WORDS, whose.locale, shop.locale)
    body = _FORM.format(
        status=_STATUS.format(status.format(brand=shop.name)) if status else "",
        topics=Markup("").join(_topic(found, topic, shop.topic(topic, whose.locale), words) for topic in found.topics),
        save=_SAVE.format(words.save) if found.topics else "",
        nothing=words.nothing,
        orders=words.orders,
    )
    return paper.page(shop, lang, words.title, code, words.ask.format(brand=shop.name), body)


def _topic(found: Choices, topic: str, title: str, words: Words) -> Markup:
    boxes = Markup("").join(
        _BOX.format(
            value=f"{channel}/{topic}",
            checked=Markup(" checked") if found.said.get((channel, topic)) == "on" else "",
            by=words.channels.get(channel, channel),
            note=f" ({words.pending})" if found.said.get((channel, topic)) == "pending" else "",
        )
        for channel in found.channels
    )
    return _TOPIC.format(title=title, boxes=boxes)


def _saved(app: App, whose: Preferences, fields: Mapping[str, list[str]], request: Request) -> Response:
    now, project, shop = app.clock.now(), app.content.project, _shop(app)
    words, lang = picked(WORDS, whose.locale, project.brand.locale)
    if "nothing" in fields:
        proof = f"{words.nothing} ({lang})"
        if app.database.written(lambda connection: preferences.leave_all(connection, project, whose, proof, now)):
            app.runtime.hear(feedback.left(whose.ref, "page", now))
        return _shown(app, whose, request, words.left)
    shown = [pair for one in fields.get("shown", ()) if (pair := _pair(one, app)) is not None]
    if not shown:
        return _shown(app, whose, request, code=400)  # not our form: nothing is chosen by it
    yes = set(fields.get("yes", ()))
    wanted = {(channel, topic): f"{channel}/{topic}" in yes for channel, topic in shown}
    read = {
        pair: f"{shop.topic(pair[1], whose.locale)}: {words.channels.get(pair[0], pair[0])}; {words.save} ({lang})"
        for pair in shown
    }
    chosen = app.database.written(lambda at: preferences.choose(at, project, whose, wanted, read, now))
    if chosen is None:
        return _shown(app, whose, request, code=400)
    if (whose.channel, whose.topic) in chosen:
        app.runtime.hear(feedback.left(whose.ref, "page", now))
    return _shown(app, whose, request, words.saved)


def _pair(text: str, app: App) -> Pair | None:
    channel, _, topic = text.partition("/")
    project = app.content.project
    return (channel, topic) if channel in project.channels and topic in project.topics else None
