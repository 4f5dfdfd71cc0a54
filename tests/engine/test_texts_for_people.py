"""Values in the texts that people read: as templates show them, never as they are kept."""

from __future__ import annotations

from pathlib import Path

from engine.store.database import Database
from tests.engine.shop import Shop

TOLD = """enter: {event: purchase, again: always}
steps:
  - notify: {to: shop, text: "{{ entry.total }}, {{ total('purchase', 'total') }}, {{ now }}, {{ customer.vip }}."}
  - notify: {to: shop, text: "{{ entry.total }}"}
"""


def test_the_team_reads_amounts_and_moments_as_the_shop_writes_them(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"told": TOLD})
    shop.happens("amina", "purchase", total=125050)
    shop.settle()
    assert [message.content.text for message in shop.sink.sent] == [
        "KES1,250.50, KES1,250.50, March 2, 2026, .",
        "KES1,250.50",
    ]


def test_a_length_of_time_is_one_in_a_template_too(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"told": "enter: {event: purchase}\nsteps: [{wait: 3d}, {send: sms/hello}]\n"})
    (tmp_path / "templates/sms/hello.txt").write_text(
        '{% if elapsed("purchase") >= 3d %}{{ elapsed("purchase") / 1d }} days{% endif %}'
    )
    shop.happens("amina", "purchase", total=1)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE customer SET phone = '+254712345678', phone_hash = 'h'")
        connection.exec_driver_sql("UPDATE consent SET channel = 'sms'")
    shop.settle()
    shop.later(days=3)
    assert [message.content.text or message.content.body for message in shop.sink.sent] == ["3 days"]
