"""Reads templates in a process of its own, which has a limit of time and memory and may be killed.

A template's file meets parsers here: MJML, CSS and HTML in native code, Jinja2, Python's own compiler. Some of them
can be made to take minutes (`<!--` sixty thousand times), and some end the whole process (tags nested twenty thousand
deep overflow the native stack). In the engine's process one file of one author would end everybody's messages. What
comes back is the code of the template; filling it in is done in the engine's process, where a Budget counts all it
does. docs/decisions/0015-templates-are-read-in-a-cell.md has the figures.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import NamedTuple

from engine.rendering.sources import Sources
from engine.rendering.template import Read, read_template
from engine.rendering.values import BrokenTemplate, TemplateProblem

CPU_SECONDS = 10
"""Of the processor, for one template. The largest of the starter's takes a hundredth of a second."""
WALL_SECONDS = 120
"""By the clock, for a machine with much else to do, or a read that waits for a disk that is gone."""
MEMORY = 1024**3
"""Of address space, most of it never touched: the libraries alone take a third."""
IDLE_SECONDS = 20
"""After which a cell that is asked nothing goes away, and its memory with it."""
_STARTED_FROM = (
    "import sys; sys.path[:] = sys.argv[4:]; from engine.rendering.cell import serve; serve(*map(int, sys.argv[1:4]))"
)


class Ask(NamedTuple):
    """One template to read: below which root, for a brand of which locale, which one, and in which locale."""

    root: str
    brand: str
    ref: str
    locale: str


Answer = Read | tuple[TemplateProblem, ...] | str
"""What was read, what is wrong with it, or in words why it can't be read at all."""


def read(root: Path, brand: str, ref: str, file: str, locale: str) -> Read:
    """A template read and compiled. BrokenTemplate tells everything wrong with it, also that reading it took more time
    or memory than it may; `file` is where that is told."""
    answer = _CELL.ask(Ask(str(root.absolute()), brand, ref, locale))
    if isinstance(answer, Read):
        return answer
    if isinstance(answer, str):
        raise BrokenTemplate(TemplateProblem(file, 1, answer, "make it simpler, or take it apart"))
    raise BrokenTemplate(*answer)


# The engine's side


class Cell:
    """The process that reads, started when it is needed. One template at a time."""

    def __init__(self, cpu_seconds: int = CPU_SECONDS, memory: int = MEMORY) -> None:
        self._seconds = cpu_seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection[Ask, Answer] | None = None

    def ask(self, ask: Ask) -> Answer:
        """The answer of the cell, or in words why it had to be ended."""
        with self._lock:
            for fresh in (False, True):
                process, line = self._running(fresh)
                try:
                    line.send(ask)
                    if not line.poll(WALL_SECONDS):
                        self.end()
                        return f"reading this takes longer than {WALL_SECONDS} seconds"
                    return line.recv()
                except (EOFError, OSError):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(WALL_SECONDS)
                    self.end()
                    code = process.returncode
                    # It went away by itself (idle), or somebody ended it: that is no fault of the template.
                    if fresh or code in _FAULTS:
                        return self._last_words(code)
            raise AssertionError("the second time it is a fresh one")

    def _running(self, fresh: bool) -> tuple[subprocess.Popen[bytes], Connection[Ask, Answer]]:
        if fresh or self._process is None or self._line is None:
            self._line, theirs = Pipe()
            with theirs:
                arguments = [str(theirs.fileno()), str(self._seconds), str(self._memory)]
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-X", "utf8", "-c", _STARTED_FROM, *arguments, *sys.path],
                    pass_fds=[theirs.fileno()],
                    env={},  # no secret of ours is where a template is read
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # who presses Ctrl-C means the engine, which has messages to finish
                )
        return self._process, self._line

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    def _last_words(self, code: int) -> str:
        if -code == signal.SIGXCPU:
            return f"reading this takes more than {self._seconds} seconds of the processor"
        if -code in (signal.SIGSEGV, signal.SIGBUS):
            return "the tags of this template are nested too deep"
        return TOO_MUCH if -code == signal.SIGABRT else f"reading this ended the process that reads ({code})"


_FAULTS = tuple(-one for one in (signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT))
"""How a cell ends that a template was too much for."""
TOO_MUCH = "reading this takes more memory than it may"
_CELL = Cell()
atexit.register(_CELL.end)
# A forked process has its parent's line, but not its parent's turn on it: it starts one of its own.
os.register_at_fork(after_in_child=_CELL.__init__)  # type: ignore[misc]


# The cell's side


def serve(handle: int, cpu_seconds: int, memory: int) -> None:
    """Read what is asked for, until nobody has asked for a while or the engine is gone."""
    _confine(memory)
    line: Connection[Answer, Ask] = Connection(handle)
    while line.poll(IDLE_SECONDS):
        try:
            ask = line.recv()
        except EOFError:
            return
        with _timed(cpu_seconds):
            answer = _answer(ask)
        line.send(answer)


def _answer(ask: Ask) -> Answer:
    try:
        return read_template(Sources(Path(ask.root), ask.brand), ask.ref, ask.locale)
    except BrokenTemplate as broken:
        return broken.problems
    except MemoryError:
        return TOO_MUCH
    except Exception as error:  # nobody sees what this process says on its way out
        return f"this can't be read: {type(error).__name__}"


def _confine(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file


@contextmanager
def _timed(seconds: int) -> Iterator[None]:
    """So many seconds of the processor from now; the system kills what takes more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, most))
    yield
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
