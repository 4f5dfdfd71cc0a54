"""Double opt-in, STOP, and surveys, as stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.check import check
from engine.language.content import load
from engine.language.registry import Registry
from engine.rendering.renderer import Renderer
from engine.store.database import Database
from tests.scenarios.shop import MAIL, PROJECT, passes, write

TOPICS = PROJECT.replace("news: {title: News}", "news: {title: News, double_opt_in: true}") + (
    "surveys: {nps: {kind: nps}, parcel: {kind: csat, question: {en: Was it well packed?, sw: Ilifungwa vizuri?}}}\n"
)
MORE = {
    "workflows/project.yaml": TOPICS,
    "templates/email/sure.mjml": MAIL % ("Are you sure?", '<a href="{{ links.confirm }}">Yes</a> '),
    "templates/email/nps.mjml": MAIL % ("One question", '<a href="{{ links.survey }}?score=9">9</a> '),
    "templates/sms/parcel.txt": "How was it? {{ links.survey }} {{ links.preferences }}\n",
}
NEWS = "{id: amina, email: amina@shop.example, phone: '+254712345678', pending: [email/news], consent: [sms/offers, email/offers]}"

CONFIRM = """
topic: news
enter: {event: signed_up}
steps:
  - send: email/sure
    confirms: true
    id: sure
  - wait_for: {event: consent_confirmed, where: event.topic == "news", within: 7d}
    then: [{send: email/a}]
    else: [{send: email/b}]
"""


def told(story: str) -> str:
    lines = "\n".join("    " + line for line in story.strip("\n").splitlines())
    return f"- scenario: it happens\n  start: 2026-03-02 09:00\n  customer: {NEWS}\n  story:\n{lines}\n"


CASES = {
    "a yes that is confirmed counts from then on": (
        CONFIRM,
        """
- {event: signed_up}
- {sends: email/sure}
- {after: 2d, confirms: sure}
- {takes: {wait_for_1: then}}
- {sends: email/a}
- {ends: finished}
""",
    ),
    "a yes that nobody confirms is none": (
        CONFIRM,
        """
- {event: signed_up}
- {sends: email/sure}
- {after: 7d, skips: email/b, reason: no_consent}
- {ends: finished}
""",
    ),
    "who says no is not asked, and has nothing to confirm": (
        CONFIRM,
        """
- {opts_out: email/news}
- {event: signed_up}
- {skips: email/sure, reason: no_consent}
- {after: 7d, skips: email/b, reason: no_consent}
- {ends: finished}
""",
    ),
    "who has confirmed is not asked again": (
        CONFIRM.replace("enter: {event: signed_up}", "enter: {event: signed_up, again: after exit}"),
        """
- {event: signed_up}
- {sends: email/sure}
- {confirms: sure}
- {sends: email/a}
- {ends: finished}
- {after: 1d, event: signed_up}
- {skips: email/sure, reason: confirmed}
- {after: 7d, sends: email/b}
- {ends: finished}
""",
    ),
    "STOP ends what comes by SMS, and START brings it back": (
        """
        enter: {event: signed_up}
        steps: [{send: sms/a}, {wait: 1d}, {send: sms/a}, {wait: 1d}, {send: sms/a}, {send: email/a}]
        """,
        """
- {event: signed_up}
- {sends: sms/a}
- {replies: Stop.}
- {after: 1d, skips: sms/a, reason: no_consent}
- {after: 1h, replies: START}
- {at: 2026-03-04 09:00, sends: sms/a}
- {sends: email/a}
- {ends: finished}
""",
    ),
    "an answer is an event that a journey waits for, with its score": (
        """
        enter: {event: signed_up}
        steps:
          - ask: nps
            id: how
          - wait_for: {event: survey_answered, where: event.survey == "nps", within: 7d}
            id: answer
            then:
              - branch:
                  - if: answer.score >= 9
                    then: [{send: email/a}]
                  - else: [{notify: {to: orders, text: "{{ answer.score }}: {{ answer.comment }}"}}]
            else: [{send: email/b}]
        """,
        """
- {event: signed_up}
- {sends: email/nps}
- {after: 1d, answers: how, with: {score: 10, comment: I like it}}
- {takes: {answer: then}}
- {sends: email/a}
- {ends: finished}
""",
    ),
    "a survey goes by any channel, through the same gate": (
        """
        enter: {event: signed_up}
        steps:
          - ask: {survey: parcel, by: sms/parcel}
            id: how
          - wait_for: {event: survey_answered, where: event.score <= 2, within: 7d}
            then: [{send: email/a}]
            else: []
        """,
        """
- {event: signed_up}
- {sends: sms/parcel}
- {answers: how, with: {score: 4}}
- {after: 7d, ends: finished}
""",
    ),
    "who has said no to the topic is not asked": (
        "enter: {event: signed_up}\nsteps: [{ask: nps, on_not_sent: exit}, {send: email/a}]",
        """
- {opts_out: email/offers}
- {event: signed_up}
- {skips: email/nps, reason: no_consent}
- {ends: not_sent}
""",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_asking(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    journey, story = CASES[name]
    passes(write(tmp_path, journey, told(story), MORE), registry, database)


def test_a_customer_of_a_story_who_has_consented_has_confirmed_it(
    tmp_path: Path, registry: Registry, database: Database
) -> None:
    story = told("- {event: signed_up}\n- {sends: email/a}\n- {ends: finished}")
    confirmed = story.replace("pending: [email/news], consent: [", "consent: [email/news, ")
    passes(
        write(tmp_path, "topic: news\nenter: {event: signed_up}\nsteps: [{send: email/a}]", confirmed, MORE),
        registry,
        database,
    )


def test_a_pending_yes_to_a_topic_that_needs_none_is_told(tmp_path: Path, registry: Registry) -> None:
    story = told("- {event: signed_up}").replace("pending: [email/news]", "pending: [email/offers, email/nes]")
    root = write(tmp_path, "enter: {event: signed_up}\nsteps: [{send: email/a}]", story, MORE)
    content = load(root, registry)
    problems = [one.message for one in check(content, registry, Renderer(root, content.project))]
    assert problems == ["a yes to this topic needs no confirmation", 'unknown topic "nes"']


def test_an_answer_enters_another_journey(tmp_path: Path, registry: Registry, database: Database) -> None:
    journey = """
    enter: {event: survey_answered, where: event.score < 7}
    steps: [{send: email/a}]
    """
    story = "- {event: survey_answered, with: {survey: nps, score: 3}}\n- {sends: email/a}\n- {ends: finished}"
    passes(write(tmp_path, journey, told(story), MORE), registry, database)


FAULTS = {
    "enter: {event: signed_up}\nsteps: [{ask: csat}]": 'unknown survey "csat"',
    "enter: {event: signed_up}\nsteps: [{ask: {survey: nps, by: email/a}}]": (
        "this step asks a survey, and email/a doesn't show the link of the page to everybody"
    ),
    "enter: {event: signed_up}\nsteps: [{send: email/nps}]": "email/nps has links.survey, and nothing here asks a survey",
    "enter: {event: signed_up}\nsteps: [{send: email/sure}]": (
        "email/sure has links.confirm, and nothing here confirms a consent"
    ),
    "topic: news\nenter: {event: signed_up}\nsteps: [{send: email/a, confirms: true}]": (
        "this step confirms a consent, and email/a doesn't show the link of the page to everybody"
    ),
    "enter: {event: signed_up}\nsteps: [{send: email/sure, confirms: true}]": 'a yes to "offers" needs no confirmation',
}


@pytest.mark.parametrize("journey", FAULTS)
def test_what_can_not_be_asked_is_told(journey: str, tmp_path: Path, registry: Registry) -> None:
    root = write(tmp_path, journey, told("- {event: signed_up}"), MORE)
    content = load(root, registry)
    problems = [one.message for one in check(content, registry, Renderer(root, content.project))]
    assert FAULTS[journey] in problems


def test_an_answer_that_nobody_could_give_is_told(tmp_path: Path, registry: Registry) -> None:
    story = "- {event: signed_up}\n- {answers: how, with: {score: 11, name: x}}\n- {answers: nobody}"
    root = write(tmp_path, "enter: {event: signed_up}\nsteps: [{ask: nps, id: how}]", told(story), MORE)
    content = load(root, registry)
    problems = [one.message for one in check(content, registry, Renderer(root, content.project))]
    assert problems == [
        "an answer has a score of the survey",
        'an answer has no "name"',
        'this journey has no ask step "nobody"',
    ]
