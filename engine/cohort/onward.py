"""A join that is read from left to right.

SQLite keeps no statistics of temporary tables and takes each for a large one: joined with the customers of a batch, it
would sooner scan every enrolment there is. CROSS JOIN is its word for "read the left side first"; to PostgreSQL, which
measures, this is a plain JOIN.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Join
from sqlalchemy.ext.compiler import compiles


class Onward(Join):
    """`Onward(left, right, on)`"""

    inherit_cache = True


@compiles(Onward, "sqlite")
def _left_first(join: Onward, compiler: Any, asfrom: bool = False, from_linter: Any = None, **kw: Any) -> str:
    left = compiler.process(join.left, asfrom=True, from_linter=from_linter, **kw)
    right = compiler.process(join.right, asfrom=True, from_linter=from_linter, **kw)
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, from_linter=from_linter, **kw)}"


@compiles(Onward)
def _plain(join: Onward, compiler: Any, **kw: Any) -> str:
    return str(compiler.visit_join(join, **kw))
