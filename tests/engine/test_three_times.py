"""Each event is sent three times, shuffled, by several who don't know of each other: it counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from random import Random

from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import START, Shop, person
from tests.promises import figures

CUSTOMERS, EACH, SENDERS, PART = 120, 5, 4, 23
SEED = 20261126
BUYS = "enter: {event: purchase, again: always}\nsteps: [{send: email/hello}, {wait: 9d}]\n"


def test_an_event_that_is_sent_three_times_by_four_at_once_counts_once(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"buys": BUYS})
    shop.clock.advance_to(START + timedelta(days=1))
    events = [
        Incoming(f"c{n}", "purchase", f"c{n}-{k}", START + k * timedelta(hours=1), {"total": 100}, person(f"c{n}"))
        for n in range(CUSTOMERS)
        for k in range(EACH)
    ]
    chance = Random(SEED)
    sent = events * 3
    chance.shuffle(sent)
    engines = [shop.beside(database) for _ in range(SENDERS)]

    def send(number: int) -> tuple[int, int]:
        accepted = duplicates = 0
        mine = sent[number::SENDERS]
        for start in range(0, len(mine), PART):
            receipt = engines[number].runtime.ingest(mine[start : start + PART])
            accepted, duplicates = accepted + receipt.accepted, duplicates + receipt.duplicates
        return accepted, duplicates

    with ThreadPoolExecutor(SENDERS) as pool:
        counts = list(pool.map(send, range(SENDERS)))
    shop.settle()
    accepted, duplicates = (sum(column) for column in zip(*counts, strict=True))
    entries = shop.rows("SELECT count(*), count(DISTINCT cause) FROM enrolment")
    tallies = shop.rows("SELECT DISTINCT count, total FROM tally")
    figures(
        "an event that is sent again counts once",
        sent=len(sent),
        accepted=accepted,
        duplicates=duplicates,
        extra_entries=entries[0][0] - len(events),
        seed=SEED,
    )
    assert (accepted, duplicates) == (len(events), 2 * len(events)), f"seed {SEED}"
    assert entries == [(len(events), len(events))] and tallies == [(EACH, 100 * EACH)]
    assert len(shop.sink.sent) == len(events) == len({one.ref for one in shop.sink.sent})
