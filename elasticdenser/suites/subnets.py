"""Systems of several sizes: what each size is called, which ones are meant, and one system for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.models.locate import DEFAULT_ELASTIC
from elasticdenser.subnet import Subnet
from elasticdenser.suites.settings import (
    ALL,
    DenseSettings,
    RrfSettings,
    SizeSettings,
    SystemSettings,
    WeightedSettings,
)

if TYPE_CHECKING:
    from elasticdenser.suites.reading import Suite

Systems = Mapping[str, SystemSettings]


def size_name(system: str, size: str | Subnet) -> str:
    """Return what one size of a system is called, such as `auto.w0.5-d3`."""
    return f"{system}.{size}"


def checked_sizes(settings: DenseSettings, where: str) -> DenseSettings:
    """Return the settings with their sizes as they are spelled elsewhere, none twice.

    Raises:
        BadInputError: A spelling is of no size.
    """
    given = settings.subnet if isinstance(settings.subnet, tuple) else (settings.subnet,)
    if given in (("",), (ALL,)):
        return settings
    try:
        spelled = tuple(dict.fromkeys(str(Subnet.parse(size)) for size in given))
    except QueryError as error:
        raise BadInputError(f'{where}.subnet: {error}; or "all" alone, for every size') from error
    return replace(settings, subnet=spelled if isinstance(settings.subnet, tuple) else spelled[0])


def find_system(where: str, name: str, systems: Systems) -> tuple[str, str]:
    """Return which table of the suite file a name means, and which of its sizes; no size where the whole is meant.

    Raises:
        BadInputError: There is no such system.
    """
    if name in systems:
        return name, ""
    for table, its in systems.items():
        size = name.removeprefix(f"{table}.")
        if isinstance(its, DenseSettings) and its.has_sizes and size != name and _has(its, size):
            return table, str(Subnet.parse(size))
    raise BadInputError(f"{where}: got {name!r}, expected one of {', '.join(_names(systems))}")


def only_needed(baseline: str, systems: Systems, chosen: Sequence[str]) -> dict[str, SystemSettings]:
    """Return the chosen systems and sizes with the baseline and all that they fuse; none chosen means all.

    Raises:
        BadInputError: There is no such system.
    """
    wanted: dict[str, set[str]] = {}
    for name in chosen or systems:
        table, size = find_system("the choice of systems", name, systems)
        wanted.setdefault(table, set()).add(size or ALL)
    _want(wanted, "baseline", baseline, systems)
    for name, its in reversed(list(systems.items())):
        if name in wanted:
            for part in getattr(its, "of", ()):
                _want(wanted, f"systems.{name}.of", part, systems)
    return {name: _narrowed(its, wanted[name]) for name, its in systems.items() if name in wanted}


def at_sizes(suite: Suite, sizes_of: Callable[[str], Sequence[Subnet]]) -> Suite:
    """Return the suite with a system for each size of those that have several.

    Args:
        suite: As it was read.
        sizes_of: Encoder -> its sizes, largest first; asked only where the suite names several.

    Raises:
        BadInputError: An encoder lacks a size, or a name is taken.
    """
    defaults = {name: _with_encoder(its) for name, its in suite.systems.items()}
    found: dict[str, list[Subnet]] = {}
    systems: dict[str, SystemSettings] = {}
    for name, its in defaults.items():
        if isinstance(its, DenseSettings) and its.has_sizes:
            found[name] = _sizes(f"systems.{name}", its, sizes_of(its.encoder))
            made = {size_name(name, size): _at(its, name, size) for size in found[name]}
            if taken := [one for one in made if one in defaults]:
                raise BadInputError(f"systems.{taken[0]}: a size of {name} has this name too: choose another")
            systems |= made
        elif isinstance(its, RrfSettings | WeightedSettings):
            of = tuple(_one(f"systems.{name}.of", part, suite.systems, found) for part in its.of)
            systems[name] = replace(its, of=of)
        else:
            systems[name] = its
    return replace(suite, systems=systems, baseline=_one("baseline", suite.baseline, suite.systems, found))


def _has(settings: DenseSettings, size: str) -> bool:
    try:
        spelled = str(Subnet.parse(size))
    except QueryError:
        return False
    return settings.subnet == ALL or spelled in settings.subnet


def _names(systems: Systems) -> Iterable[str]:
    for name, its in systems.items():
        yield name
        if isinstance(its, DenseSettings) and its.has_sizes:
            yield from (size_name(name, size) for size in (("SIZE",) if its.subnet == ALL else its.subnet))


def _want(wanted: dict[str, set[str]], where: str, name: str, systems: Systems) -> None:
    """Add what a name means where one system is wanted: of one that has sizes, the largest."""
    table, size = find_system(where, name, systems)
    its = systems[table]
    if not size and isinstance(its, DenseSettings) and its.has_sizes:
        size = _largest(its)
    wanted.setdefault(table, set()).add(size)


def _largest(settings: DenseSettings) -> str:
    """Return the largest size, "" being the encoder's full one, whatever it is."""
    if settings.subnet == ALL or "" in settings.subnet:
        return ""
    return max(settings.subnet, key=Subnet.parse)


def _narrowed(settings: SystemSettings, sizes: set[str]) -> SystemSettings:
    if not isinstance(settings, DenseSettings) or not settings.has_sizes or ALL in sizes:
        return settings
    return replace(settings, subnet=tuple(sorted(sizes)))


def _with_encoder(settings: SystemSettings) -> SystemSettings:
    if isinstance(settings, DenseSettings) and settings.subnet and not settings.encoder:
        return replace(settings, encoder=DEFAULT_ELASTIC)
    return settings


def _sizes(where: str, settings: DenseSettings, known: Sequence[Subnet]) -> list[Subnet]:
    if settings.subnet == ALL:
        return list(known)
    wanted = {Subnet.parse(size) if size else known[0] for size in settings.subnet}
    if lacking := sorted(wanted - set(known), reverse=True):
        message = f"got {', '.join(map(str, lacking))}, but the encoder has the sizes {', '.join(map(str, known))}"
        raise BadInputError(f"{where}.subnet: {message}: name some of these")
    return [size for size in known if size in wanted]


def _at(settings: DenseSettings, name: str, size: Subnet) -> SizeSettings:
    return SizeSettings(
        title=settings.title, encoder=settings.encoder, subnet=str(size), exact=settings.exact, size_of=name
    )


def _one(where: str, name: str, systems: Systems, found: Mapping[str, Sequence[Subnet]]) -> str:
    """Return the system that a name means where one is wanted."""
    table, size = find_system(where, name, systems)
    if table not in found:
        return table
    sizes = [str(one) for one in found[table]]
    if size and size not in sizes:
        raise BadInputError(f"{where}: got {name!r}, but the sizes of {table} are {', '.join(sizes)}")
    return size_name(table, size or sizes[0])
