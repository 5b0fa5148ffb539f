"""What a user states of servers, facilities, grids, prices and fleets. Nothing is switched on by default.

The keys are the flags (dashes as underscores), on the command line and in a YAML file alike.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from harness.footprint.server import Published
from harness.footprint.spread import Spread, Typed, read
from harness.records import Record


def _listed(value: object) -> object:
    """`FRA,USA/California` and [FRA, USA/California] are the same."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _server(value: object) -> object:
    """A published multiplier by its name, or a number of one's own."""
    if isinstance(value, Published):
        return value
    if isinstance(value, str) and value.strip().lower() in [each.value for each in Published]:
        return Published(value.strip().lower())
    try:
        return Spread.model_validate(read(value))
    except ValueError:
        raise ValueError(
            "write measured, mit, google, a number such as 1.8, or a 95 % range such as 1.5..2.2"
        ) from None


WHOLE_MOST = 100.0
"""No whole is said to be so many times its part; somebody wrote a percentage."""


def _whole(stated: Spread) -> Spread:
    """A whole over its part."""
    low, high = (stated.value if end is None else end for end in (stated.low, stated.high))
    if low < 1 or high >= WHOLE_MOST:
        raise ValueError("it is a whole over its part: 1.2 for a fifth more")
    return stated


def _whole_server(stated: Published | Spread | None) -> Published | Spread | None:
    return _whole(stated) if isinstance(stated, Spread) else stated


def _positive(stated: Spread) -> Spread:
    if stated.value <= 0:
        raise ValueError("write a number above 0")
    return stated


def _saving(stated: Spread) -> Spread:
    """How many times a query alone costs what it costs on a busy server."""
    if (stated.value if stated.low is None else stated.low) < 1:
        raise ValueError("write at least 1: a query alone takes so many times the joules of one on a busy server")
    return stated


Whole = Annotated[Spread, BeforeValidator(read), AfterValidator(_whole)]
Server = Annotated[
    Published | Spread | None,
    BeforeValidator(lambda value: value if value is None else _server(value)),
    AfterValidator(_whole_server),
]


class FootprintSpec(Record):
    """How a run's joules are carried on, and to what. None: not at all."""

    server: Server = None
    pue: Whole | None = Field(default=None, description="facility power over IT power")
    grid: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    wue: Typed | None = Field(default=None, description="litres evaporated on site per kWh of IT energy")
    grid_water: Typed | None = Field(default=None, description="litres per kWh where the electricity is made")
    tariff: Typed | None = Field(default=None, description="price of a kWh")
    gpu_hour_price: Typed | None = Field(default=None, description="price of one board for an hour")
    equivalents: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was stated, so that there is no footprint."""
        return self == type(self)()


class ProjectionSpec(FootprintSpec):
    """A fleet, and what its queries are taken to be."""

    queries_per_day: Annotated[Spread, BeforeValidator(read), AfterValidator(_positive)]
    mode: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    as_batch_1: bool = False
    batch_factor: Annotated[Spread, BeforeValidator(read), AfterValidator(_saving)] | None = Field(
        default=None, description="joules of a query alone over those of one on a busy server"
    )
    draws: Annotated[int, Field(ge=1_000, le=2_000_000)] = 200_000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
