"""Templates that try to get out, or to take the machine's time or memory, when they are filled in. None may do
either. Those that try when they are read are in test_hostile_files.py."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.rendering.values import Links, RenderError
from tests.promises import figures
from tests.rendering.conftest import Shop

# Ways from a value to Python's insides, written from every kind of value there is.
WALKS = [
    ".__class__", ".__class__.__mro__", ".__class__.__mro__[1].__subclasses__()", ".__init__.__globals__", ".__dict__",
    ".__doc__", ".__reduce__()", ".__getattribute__('x')", ".format('{0.__class__}')", ".format_map(c)", ".mro()",
    "['__class__']", "['__cla' ~ 'ss__']", "['_x']", "['__init__']['__globals__']", ".gi_frame", ".f_globals", ".func_globals",
]  # fmt: skip
VALUES = ["c", "c.name", "c.list", "c.n", "c.list[0]", "''", "1", "[]", "now"]
NAMES = [
    "self", "self._TemplateReference__context", "config", "request", "range(9)", "dict()", "lipsum()", "cycler('a')",
    "joiner()", "namespace()", "cycler.__init__.__globals__", "_calls", "_budget", "_budget.loop", "_zone", "context",
    "environment", "caller()", "varargs", "super()", "get_flashed_messages()", "c.__class__.__base__", "loop.changed(1)",
]  # fmt: skip
FILTERS = [
    "c.name | attr('__class__')", "c.list | map('attr', '__class__') | join", "c.list | map(attribute='__class__') | join",
    "c.list | map(attribute='name.__class__') | join", "c.name | safe", "c.name | format(c)", "'%s' | format(c.name)",
    "c.list | tojson", "c | pprint", "c | dictsort", "c | items", "c | xmlattr", "c.list | groupby('name')", "c.name | string",
    "c.list | sort(attribute='name')", "c.list | selectattr('name')", "c.name | list", "c.list | sum(attribute='n')",
    "c.name | forceescape", "c.name | wordwrap(1)", "c.name | indent(999999999)", "'a' | center(999999999)",
    "c.name | filesizeformat", "c.list | batch(9999999)", "c.list | slice(9999999)", "c.name | urlize", "c.name | striptags",
]  # fmt: skip
STATEMENTS = [
    "{% import 'os' as os %}{{ os }}", "{% from 'os' import system %}", "{% include '/etc/passwd' %}",
    "{% include 'blocks/../../../etc/passwd' %}", "{% extends '/etc/passwd' %}", "{% macro m() %}{{ m() }}{% endmacro %}",
    "{% call m() %}{% endcall %}", "{% filter upper %}x{% endfilter %}", "{% set c.name = 1 %}", "{% set _x = 1 %}",
    "{% set x %}{{ c.name }}{% endset %}", "{% do c.list.append(1) %}", "{% with x = 1 %}{{ x }}{% endwith %}", "{% debug %}",
    "{% autoescape false %}{{ c.name }}{% endautoescape %}", "{% block a %}{% endblock %}", "{% trans %}x{% endtrans %}",
    "{% for x in c.list recursive %}{{ loop(c.list) }}{% endfor %}", "{% for k, v in c.items() %}{{ k }}{% endfor %}",
    "{% for x in c %}{{ x }}{% endfor %}", "{% for x in c.name %}{{ x }}{% endfor %}", "{% for x in 99999999 %}{% endfor %}",
    "{% set ns = namespace(x=1) %}{{ ns }}", "{% set c = 1 %}{{ c.__class__ }}", "{% for c in [c] %}{{ c.__class__ }}{% endfor %}",
]  # fmt: skip
GREEDY = [
    "{{ 'a' * 10**9 }}", "{{ 'a' * 1000000000 }}", "{{ [1] * 1000000000 }}", "{{ 10 ** 10 ** 10 }}", "{{ 2 << 99 }}",
    "{{ '%999999999s' % 'a' }}", "{{ 'a'.center(999999999) }}", "{{ 'a'.ljust(999999999) }}", "{{ 1e308 * 1e308 }}",
    "{{ '{:>999999999}'.format(1) }}", "{{ c.n | round(999999999) }}", "{{ c.n | number(999999999) }}",
    "{{ c.name | replace('', 'aaaaaaaaaa') }}", "{{ c.long | replace('a', c.long) }}", "{{ c.long | truncate(-99999) }}",
    "{{ now | date('" + "y" * 9999 + "') }}", "{{ now | date('EEEE') | join('x') }}", "{{ c.many | join(c.long) }}",
    "{% for a in c.many %}{% for b in c.many %}{% for d in c.many %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in c.many %}{% for b in c.many %}{% endfor %}{% endfor %}",
    "{% for a in c.many %}" + "x" * 10_000 + "{% endfor %}",
    "{% for a in c.many %}{{ c.long }}{% endfor %}",
    "{% for a in c.many %}{% set b = c.long ~ c.long %}{% endfor %}" * 9,
    "{% set a = c.long %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{% set a = c.long %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "{% set a = 9 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "{{ " + "not " * 5000 + "1 }}", "{{ " + "-" * 5000 + "1 }}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300, "{{ " + "1 + " * 20_000 + "1 }}", "{{ c" + "['a']" * 20_000 + " }}",
    "{% for a in [" + "1," * 20_000 + "] %}{% for b in [" + "1," * 20_000 + "] %}{% endfor %}{% endfor %}",
    "{{ c.many | map(attribute='x') | map(attribute='y') | join }}" * 50,
    # Loops that write nothing, and work.
    "{% for a in c.hundred %}{% for b in c.hundred %}{% if (c.long" + " | upper | lower" * 80 + ") == 'x' %}{% endif %}{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}{% if c.long | title | urlencode | urlencode | size %}{% endif %}{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if c.long == c.twin %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if c.many == c.twins %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if 'b' in c.long or c.list in c.many %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if c.n | money %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if loop.index | plus(a) | times(1.0001) | number(9) %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% if now | date('%A %B') | upper %}{% endif %}" * 900 + "{% endfor %}{% endfor %}",
    "{% for a in c.hundred %}{% for b in c.hundred %}" + "{% set d = [a, b, [a, b, [a, b]]] %}" * 900 + "{% endfor %}{% endfor %}",
    "{{ " + " == ".join(["c.many"] * 250) + " }}",
    "{% if " + " and ".join(["c.many == c.twins"] * 100) + " %}x{% endif %}" ,
    *(f"{{% set a = c.long %}}{step * 400}{{{{ a | size }}}}" for step in (
        "{% set a = a | append(a) %}", "{% set a = a | prepend(a) %}", "{% set a = a | replace('a', 'aa') %}",
        "{% set a = a | urlencode %}", "{% set a = [a, a] | join(a) %}", "{% set a = a | title | capitalize | trim %}",
    )),
    *(f"{{% set b = c.many {step} %}}" * 400 for step in (
        "| sort", "| sort('x')", "| uniq", "| reverse | reverse | reverse", "| where('x')", "| sum('x')", "| slice(0, 999999999)",
    )),
    "".join(f"{{% set v{n} = c.commas | split(',') %}}" for n in range(1000)),
    "".join(f"{{% set v{n} = c.long ~ {n} %}}" for n in range(1000)),
    "{{ c.long | split('a') | size }}", "{{ c.long | split('') | join(c.long) }}", "{{ 'a' | slice(-999999999, 999999999) }}",
    "{{ c.n | pluralize('a', 'b', few=c.long, many=c.long, nine=c.long) }}", "{{ c.n | pluralize(c.list, c.list) }}",
    "{{ c.n | modulo(0) }}", "{{ c.n | divided_by(0) }}", "{{ 1e308 | times(1e308) | floor }}", "{{ (1e300 * 1e300) | ceil }}",
    "{{ now | date('%" + "%A" * 9999 + "') }}", "{{ now | date('%Q') }}", "{{ now | date('%') }}", "{{ now | date(c.long) }}",
    "{{ c.long | truncatewords(-1) }}", "{{ c.long | truncatewords(999999999, c.long) }}", "{{ c.long | newline_to_br | newline_to_br }}",
    "{{ c.list | sort('name') | where('n', c.list) }}", "{{ c.list | uniq }}", "{{ c.list | sum('name') }}", "{{ c | sort }}",
    "{{ c.long | upper(*c.list) }}", "{{ c.long | replace(**c) }}", "{{ c.name | default(c.__class__) }}", "{{ c.list | where('__class__') }}",
    "{{ c.list | map('__class__') | join }}", "{{ c.list | sort('__class__.__mro__') | first }}", "{{ c.list | sum('__init__') }}",
]  # fmt: skip
HOSTILE = [
    *(f"{{{{ {value}{walk} }}}}" for value in VALUES for walk in WALKS),
    *(f"{{{{ {name} }}}}" for name in NAMES),
    *(f"{{{{ {filter_} }}}}" for filter_ in FILTERS),
    *STATEMENTS,
    *GREEDY,
    "{{1}}" * 50_000,
    "{% for x in c.many %}" * 30 + "x" + "{% endfor %}" * 30,
]
ESCAPES = ("<class", "<function", "<built-in", "<bound method", "object at 0x", "root:", "__main__")
WORST = {"ms": 0.0, "MiB": 0.0}
ESCAPED: list[str] = []
MOST = 30.0
"""Seconds of the processor's time, with every allocation watched. The worst takes half a second here; what gets away
takes minutes and more, so nothing is measured."""


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:60])
def test_a_hostile_template_gets_nowhere(source: str, shop: Shop) -> None:
    values: dict[str, Any] = {
        "c": {
            "name": "Amina", "n": 7, "long": "a" * 20_000, "list": [{"name": "x", "n": 1}] * 3,
            "many": [{"x": {"y": "z"}}] * 1000, "twins": [{"x": {"y": "z"}} for _ in range(1000)],
            "twin": "".join(["a"] * 20_000), "hundred": [1] * 100, "commas": "," * 900,
        },
        "now": datetime(2026, 3, 1, tzinfo=UTC),
    }  # fmt: skip
    renderer = shop.write({"sms/x.txt": source})
    tracemalloc.start()
    began = time.thread_time()
    try:
        said = renderer.render("sms/x", "en", values, Links()).text
    except RenderError as error:
        said = str(error)
    took = time.thread_time() - began
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    WORST["ms"] = max(WORST["ms"], took * 1000)
    WORST["MiB"] = max(WORST["MiB"], peak)
    if any(mark in said for mark in ESCAPES):
        ESCAPED.append(source)
    assert source not in ESCAPED, said[:200]
    assert len(said) <= 1_100_000
    assert peak < 100
    assert took < MOST


def test_how_bad_it_got() -> None:
    figures(
        "a hostile template gets nowhere",
        tried=len(HOSTILE),
        escapes=len(ESCAPED),
        worst_ms=round(WORST["ms"]),
        worst_MiB=round(WORST["MiB"]),
    )
    assert len(HOSTILE) >= 100
