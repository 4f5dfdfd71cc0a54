"""Customers and events from files: read row by row, taken in batches, what is wrong told by its line.

reading.py  a file as rows, each with its line
rows.py     a row as a customer or an event, through the same door as the API, or what is wrong with it
faults.py   all that is wrong with a row that was refused
bulk.py     many customers in few statements
taking.py   the import itself
"""

from engine.imports.faults import NoColumn
from engine.imports.reading import Unreadable
from engine.imports.rows import Kind, Layout, NoKind
from engine.imports.taking import Import, Result

__all__ = ["Import", "Kind", "Layout", "NoColumn", "NoKind", "Result", "Unreadable"]
