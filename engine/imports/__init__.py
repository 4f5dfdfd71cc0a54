"""Customers and events from files: read row by row, taken in batches, what is wrong told by its line.

reading.py   a file as rows, each with its line
rows.py      a row as a customer or an event, through the same door as the API, or what is wrong with it
faults.py    all that is wrong with a row that was refused
bulk.py      many customers in few statements
history.py   many events in few statements
people.py    who they are of
latecomers.py  nobody enters by them for a date that has gone off
batches.py   a batch as one transaction, and how large it is
progress.py  how far an import has come
rejects.py   the rows that were not taken
taking.py    the import itself
"""

from engine.imports.batches import Outdated
from engine.imports.faults import NoColumn
from engine.imports.progress import Changed
from engine.imports.reading import Unreadable
from engine.imports.rows import Kind, Layout, NoKind
from engine.imports.taking import Import, Result

__all__ = ["Changed", "Import", "Kind", "Layout", "NoColumn", "NoKind", "Outdated", "Result", "Unreadable"]
