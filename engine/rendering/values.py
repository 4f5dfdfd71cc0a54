"""The nouns of rendering: what goes in, what comes out, and what can be wrong with a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import total_ordering

from babel.numbers import get_currency_precision

from engine.language.types import Money as Money

_LARGEST = 10**18


@total_ordering
class Amount(Money):
    """Money that a template can count with: Amount(150050, "KES") is 1,500.50 shillings.

    Compared or added with a plain number, the number counts whole units. Two currencies never mix (TypeError).
    """

    __slots__ = ()

    @property
    def amount(self) -> Decimal:
        return Decimal(self.minor).scaleb(-get_currency_precision(self.currency))

    def __add__(self, other: object) -> Amount:
        return self._with(self.minor + self._minor_of(other))

    __radd__ = __add__

    def __sub__(self, other: object) -> Amount:
        return self._with(self.minor - self._minor_of(other))

    def __rsub__(self, other: object) -> Amount:
        return self._with(self._minor_of(other) - self.minor)

    def __mul__(self, factor: int | float | Decimal) -> Amount:
        return self._with(round(self.minor * Decimal(str(factor))))

    __rmul__ = __mul__

    def __truediv__(self, divisor: int | float | Decimal | Amount) -> Amount | Decimal:
        if isinstance(divisor, Money):
            return Decimal(self.minor) / self._minor_of(divisor)
        return self._with(round(self.minor / Decimal(str(divisor))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Money, int, float, Decimal)) and self.minor == self._minor_of(other)

    def __lt__(self, other: object) -> bool:
        return self.minor < self._minor_of(other)

    def __hash__(self) -> int:
        return hash((self.minor, self.currency))

    def _with(self, minor: int) -> Amount:
        if abs(minor) > _LARGEST:
            raise OverflowError("more money than there is")
        return Amount(minor, self.currency)

    def _minor_of(self, other: object) -> int:
        if isinstance(other, Money):
            if other.currency != self.currency:
                raise TypeError(f"{self.currency} and {other.currency} don't mix")
            return other.minor
        if isinstance(other, (int, float, Decimal)) and not isinstance(other, bool):
            return round(Decimal(str(other)).scaleb(get_currency_precision(self.currency)))
        raise TypeError("not an amount")


@dataclass(frozen=True, slots=True)
class Links:
    """The links made for one message. `unsubscribe` is None for a transactional one, `confirm` for one that asks for
    no confirmation, `survey` for one that asks no survey, `telegram` for a shop without a bot there."""

    unsubscribe: str | None = None
    preferences: str | None = None
    confirm: str | None = None
    survey: str | None = None
    telegram: str | None = None


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a template said for one customer, word by word: `fixed` are the identities of its own words, `tidied` is
    what was done to the whole."""

    said: Sequence[str]
    fixed: frozenset[int]
    tidied: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished message of one channel; what the channel has no use for is empty. `locale` is the template's own,
    `pieces` what each of a mail's parts was put together from; `origins` (https://shop.example) are of the addresses
    that the template wrote by itself, and not a customer."""

    channel: str
    subject: str = ""
    preheader: str = ""
    html: str = ""
    text: str = ""
    title: str = ""
    body: str = ""
    url: str = ""
    locale: str = ""
    template_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    pieces: Mapping[str, Pieces] = field(default_factory=dict, repr=False, compare=False)
    origins: frozenset[str] = field(default_factory=frozenset, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a template names a value (dotted) or calls a function (as expression text)."""

    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a template takes, over all its locales.

    `names`: dotted, `customer.first_name`, `entry.items`; what a loop reads of each item is `entry.items[].name` and
    stands in `fields`. `calls`: expression texts to be computed and handed in as values["_calls"][text]. `uses` and
    `call_uses` say where; `vital` are those uses of names without whose value there is no message. `has_unsubscribe`
    and `has_address`: every locale shows `links.unsubscribe` and `brand.address` to everybody, `shows` all such names.
    `link_names`: the links it has anywhere.
    """

    names: frozenset[str]
    fields: frozenset[str]
    calls: tuple[str, ...]
    uses: tuple[Use, ...]
    call_uses: tuple[Use, ...]
    vital: tuple[Use, ...]
    links: bool
    link_names: frozenset[str]
    shows: frozenset[str]
    has_unsubscribe: bool
    has_address: bool


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong with a template and where: `file` below the project's root, `line` from 1."""

    file: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.message}" + (f" ({self.hint})" if self.hint else "")


class RenderError(Exception):
    """A message could not be rendered for someone: `reason` is a code, `detail` says what without saying whose.

    Reasons: missing_value, wrong_type, too_big, subject_line_break, no_template, broken_template.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BrokenTemplate(Exception):
    """A template can't be used at all; `problems` says why and where."""

    def __init__(self, *problems: TemplateProblem) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
