"""The page of a survey. A mail may link every score, with ?score=9 after its link: that only marks it, for scanners
open every link. The answer is the POST."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from markupsafe import Markup

from engine.app import App
from engine.language.surveys import Kind, Spoken, Survey
from engine.rendering.links import SURVEY, Question
from engine.rendering.sources import chain
from engine.runtime import surveys
from engine.web import paper, unsubscribe
from engine.web.paper import Shop, picked

log = logging.getLogger("karibu.web")


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says, in one language. `{brand}` is put in; `ends`: what the lowest and the highest score mean."""

    title: str
    questions: Mapping[Kind, str]
    ends: Mapping[Kind, tuple[str, str]]
    comment: str
    send: str
    missing: str
    done: str
    done_more: str
    before: str
    over: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        title="Your opinion",
        questions={
            "nps": "How likely are you to recommend {brand} to a friend?",
            "csat": "How content are you with {brand}?",
        },
        ends={"nps": ("not at all likely", "very likely"), "csat": ("not at all", "very")},
        comment="Why? (You may leave this out.)",
        send="Send my answer",
        missing="Please choose a number.",
        done="Thank you!",
        done_more="{brand} has your answer.",
        before="You have answered this already. Thank you!",
        over="This survey is over.",
    ),
    "sw": Words(
        title="Maoni yako",
        questions={
            "nps": "Je, kuna uwezekano gani wa kumpendekezea rafiki {brand}?",
            "csat": "Umeridhika kiasi gani na {brand}?",
        },
        ends={"nps": ("hakuna kabisa", "mkubwa sana"), "csat": ("sijaridhika", "nimeridhika sana")},
        comment="Kwa nini? (Si lazima kujibu.)",
        send="Tuma jibu langu",
        missing="Tafadhali chagua nambari.",
        done="Asante!",
        done_more="{brand} wamepokea jibu lako.",
        before="Umeshajibu tayari. Asante!",
        over="Utafiti huu umekwisha.",
    ),
    "hy": Words(
        title="Ձեր կարծիքը",
        questions={
            "nps": "Որքա՞ն հավանական է, որ {brand}-ը խորհուրդ կտաք ընկերոջը։",
            "csat": "Որքա՞ն գոհ եք {brand}-ից։",
        },
        ends={"nps": ("բոլորովին հավանական չէ", "շատ հավանական է"), "csat": ("գոհ չեմ", "շատ գոհ եմ")},
        comment="Ինչո՞ւ։ (Պարտադիր չէ։)",
        send="Ուղարկել պատասխանը",
        missing="Խնդրում ենք ընտրել թիվ։",
        done="Շնորհակալություն։",
        done_more="{brand}-ը ստացել է Ձեր պատասխանը։",
        before="Դուք արդեն պատասխանել եք։ Շնորհակալություն։",
        over="Այս հարցումն ավարտված է։",
    ),
    "fil": Words(
        title="Ang opinyon mo",
        questions={
            "nps": "Gaano kalamang na irerekomenda mo ang {brand} sa isang kaibigan?",
            "csat": "Gaano ka kasiya sa {brand}?",
        },
        ends={"nps": ("hinding-hindi", "siguradong-sigurado"), "csat": ("hindi masaya", "napakasaya")},
        comment="Bakit? (Puwedeng walang sagot.)",
        send="Ipadala ang sagot ko",
        missing="Pumili ng numero.",
        done="Salamat!",
        done_more="Natanggap na ng {brand} ang sagot mo.",
        before="Nasagot mo na ito. Salamat!",
        over="Tapos na ang survey na ito.",
    ),
}

_SCORE = Markup(
    '<label class="score"><input type="radio" name="score" value="{score}" required{checked}>'
    "<span>{score}</span></label>"
)
_FORM = Markup(
    '{missing}<form method="post"><fieldset><legend class="unseen">{question}</legend>'
    '<div class="scores">{scores}</div><div class="ends"><span>{low}</span><span>{high}</span></div></fieldset>'
    '<label for="comment">{comment}</label>'
    '<textarea id="comment" name="comment" rows="4" maxlength="{most}">{typed}</textarea>'
    '<p class="buttons"><button>{send}</button></p></form>'
)


def router(site: Callable[[], App]) -> APIRouter:
    """The routes `GET` and `POST /survey/{token}`."""
    routes = APIRouter(prefix=SURVEY.rstrip("/"), include_in_schema=False)

    @routes.api_route("/{token}", methods=["GET", "HEAD"])
    def show(token: str, request: Request) -> Response:
        return _answered(site(), token, request, None)

    @routes.post("/{token}")
    async def take(token: str, request: Request) -> Response:
        app, fields = site(), await paper.form(request)
        try:
            return await run_in_threadpool(_answered, app, token, request, fields)
        except Exception as error:
            log.error("an answer could not be kept: %s", type(error).__name__)
            question = app.pages.read_survey(token)
            return unsubscribe.failed(Shop.of(app.content.project), question.locale if question else "")

    return routes


def _answered(app: App, token: str, request: Request, fields: Mapping[str, list[str]] | None) -> Response:
    """The page, or what has come of a form that was posted."""
    shop, now, question = Shop.of(app.content.project), app.clock.now(), app.pages.read_survey(token)
    if question is None:
        return unsubscribe.forged(shop, request)
    words, lang = picked(WORDS, question.locale, shop.locale)
    survey = app.content.project.surveys.get(question.survey)
    with app.database.read() as connection:
        asked = surveys.asked(connection, question.ref)
    if asked is None or survey is None or now - question.asked_at > surveys.ANSWERED_WITHIN:
        return paper.page(shop, lang, words.title, 410, words.over, Markup(""))
    if asked.answered:
        return paper.page(shop, lang, words.title, 200, words.before, Markup(""))
    if fields is None:
        clicked = request.query_params.get("score", "")
        return _page(shop, words, lang, question, survey, surveys.score_of(survey, clicked))
    comment = "".join(fields.get("comment", ())[:1])
    score = surveys.score_of(survey, "".join(fields.get("score", ())[:1]))
    if score is None:
        return _page(shop, words, lang, question, survey, None, comment, missing=True)
    taken = app.runtime.ingest([surveys.answer(asked, question.survey, score, comment, now)])
    head = words.done if taken.accepted else words.before
    return paper.page(shop, lang, words.title, 200, head, paper.body(words.done_more.format(brand=shop.name)))


def _page(
    shop: Shop,
    words: Words,
    lang: str,
    question: Question,
    survey: Survey,
    marked: int | None,
    typed: str = "",
    *,
    missing: bool = False,
) -> Response:
    asks = _spoken(survey.question, question.locale, shop.locale) or words.questions[survey.kind]
    asks = asks.replace("{brand}", shop.name)
    low, high = words.ends[survey.kind]
    body = _FORM.format(
        missing=Markup('<p class="told" role="alert">{}</p>').format(words.missing) if missing else "",
        question=asks,
        scores=Markup("").join(
            _SCORE.format(score=score, checked=Markup(" checked") if score == marked else "") for score in survey.scores
        ),
        low=f"{survey.scores[0]}: {low}",
        high=f"{survey.scores[-1]}: {high}",
        comment=_spoken(survey.comment, question.locale, shop.locale) or words.comment,
        most=surveys.LONGEST_COMMENT,
        typed=typed,
        send=words.send,
    )
    return paper.page(shop, lang, words.title, 400 if missing else 200, asks, body)


def _spoken(text: Spoken | None, locale: str, brand: str) -> str | None:
    """The shop's own words in the customer's language, else in the brand's; None where it has none."""
    if text is None:
        return None
    names = [*chain(locale, brand), *chain(brand, brand), ""]
    found = next((text.by_locale[name] for name in names if name in text.by_locale), None)
    return found if found is not None else next(iter(text.by_locale.values()))
