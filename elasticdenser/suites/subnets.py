"""Systems with several subnets: a table of a suite file that stands for one system per subnet.

A system of such a table is named `TABLE.SUBNET`. Names refer to a whole table or to one of its subnets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.models.locate import DEFAULT_ELASTIC
from elasticdenser.subnet import Subnet
from elasticdenser.suites.settings import (
    ALL_SUBNETS,
    DenseSettings,
    RerankSettings,
    RrfSettings,
    SubnetSettings,
    SystemSettings,
    WeightedSettings,
    parts_of,
)

Systems = Mapping[str, SystemSettings]


def subnet_system_name(table: str, subnet: str | Subnet) -> str:
    """Return the name of the system for one subnet of a table, such as `auto.w0.5-d3`."""
    return f"{table}.{subnet}"


def with_normalised_subnets(settings: DenseSettings, where: str) -> DenseSettings:
    """Return the settings with every subnet in its usual spelling, without duplicates.

    Args:
        settings: Settings as a user spelled them.
        where: Place of the settings for error messages.

    Raises:
        BadInputError: A spelling does not name a subnet.
    """
    spellings = settings.subnet if isinstance(settings.subnet, tuple) else (settings.subnet,)
    if spellings in (("",), (ALL_SUBNETS,)):
        return settings
    try:
        subnets = tuple(dict.fromkeys(str(Subnet.parse(spelling)) for spelling in spellings))
    except QueryError as error:
        raise BadInputError(f'{where}.subnet: {error}; or "all" alone, for every subnet') from error
    return replace(settings, subnet=subnets if isinstance(settings.subnet, tuple) else subnets[0])


def find_system(where: str, name: str, systems: Systems) -> tuple[str, str]:
    """Return the table of the suite file and the subnet that a name refers to; no subnet if it is the whole table.

    Args:
        where: Place of the name for error messages.
        name: Name of a table, or of one subnet of a table.
        systems: The tables of systems.

    Raises:
        BadInputError: There is no such system.
    """
    if name in systems:
        return name, ""
    for table, settings in systems.items():
        subnet = name.removeprefix(f"{table}.")
        if (
            isinstance(settings, DenseSettings)
            and settings.has_several_subnets
            and subnet != name
            and _includes(settings, subnet)
        ):
            return table, str(Subnet.parse(subnet))
    raise BadInputError(f"{where}: got {name!r}, expected one of {', '.join(_possible_names(systems))}")


def select_systems(baseline: str, systems: Systems, chosen: Sequence[str]) -> dict[str, SystemSettings]:
    """Return the chosen systems and subnets with the baseline and all systems that they fuse or rerank.

    Args:
        baseline: Name of the baseline.
        systems: The tables of systems, each after the systems that it is made of.
        chosen: Names of systems; none means all.

    Raises:
        BadInputError: There is no such system.
    """
    subnets_by_table: dict[str, set[str]] = {}
    for name in chosen or systems:
        table, subnet = find_system("the choice of systems", name, systems)
        subnets_by_table.setdefault(table, set()).add(subnet or ALL_SUBNETS)
    _add_single(subnets_by_table, "baseline", baseline, systems)
    for name, settings in reversed(list(systems.items())):
        if name in subnets_by_table:
            key, parts = parts_of(settings)
            for part in parts:
                _add_single(subnets_by_table, f"systems.{name}.{key}", part, systems)
    return {
        name: _with_subnets(settings, subnets_by_table[name])
        for name, settings in systems.items()
        if name in subnets_by_table
    }


def expand_subnets(
    baseline: str, systems: Systems, subnets_of: Callable[[str], Sequence[Subnet]]
) -> tuple[str, dict[str, SystemSettings]]:
    """Return the baseline and the systems with a system for each subnet of the tables that have several.

    Args:
        baseline: Name of the baseline.
        systems: The tables of systems, each after the systems that it is made of.
        subnets_of: Encoder -> its subnets, largest first; called only for tables with several subnets.

    Raises:
        BadInputError: An encoder lacks a subnet, or two systems have the same name.
    """
    tables = {name: _with_default_encoder(settings) for name, settings in systems.items()}
    subnets_by_table: dict[str, list[Subnet]] = {}
    expanded: dict[str, SystemSettings] = {}
    for name, settings in tables.items():
        if isinstance(settings, DenseSettings) and settings.has_several_subnets:
            subnets = _available_subnets(f"systems.{name}", settings, subnets_of(settings.encoder))
            subnets_by_table[name] = subnets
            by_subnet = {
                subnet_system_name(name, subnet): _subnet_settings(settings, name, subnet) for subnet in subnets
            }
            if taken := [system for system in by_subnet if system in tables]:
                raise BadInputError(f"systems.{taken[0]}: a subnet of {name} has the same name: rename this system")
            expanded |= by_subnet
        elif isinstance(settings, RrfSettings | WeightedSettings):
            parts = [_single_system(f"systems.{name}.of", part, systems, subnets_by_table) for part in settings.of]
            expanded[name] = replace(settings, of=tuple(parts))
        elif isinstance(settings, RerankSettings):
            over = _single_system(f"systems.{name}.over", settings.over, systems, subnets_by_table)
            expanded[name] = replace(settings, over=over)
        else:
            expanded[name] = settings
    return _single_system("baseline", baseline, systems, subnets_by_table), expanded


def _includes(settings: DenseSettings, spelling: str) -> bool:
    """Tell whether a table may have a subnet; with `all` any may be, as only the encoder knows which it has."""
    try:
        subnet = str(Subnet.parse(spelling))
    except QueryError:
        return False
    return settings.subnet == ALL_SUBNETS or subnet in settings.subnet


def _possible_names(systems: Systems) -> Iterable[str]:
    """Yield all names of systems, for error messages; `SUBNET` stands for any subnet of a table with `all`."""
    for name, settings in systems.items():
        yield name
        if isinstance(settings, DenseSettings) and settings.has_several_subnets:
            subnets = ("SUBNET",) if settings.subnet == ALL_SUBNETS else settings.subnet
            yield from (subnet_system_name(name, subnet) for subnet in subnets)


def _add_single(subnets_by_table: dict[str, set[str]], where: str, name: str, systems: Systems) -> None:
    """Add the system that a name refers to where a single one is needed: the largest subnet of a table."""
    table, subnet = find_system(where, name, systems)
    settings = systems[table]
    if not subnet and isinstance(settings, DenseSettings) and settings.has_several_subnets:
        subnet = _largest_subnet(settings)
    subnets_by_table.setdefault(table, set()).add(subnet)


def _largest_subnet(settings: DenseSettings) -> str:
    """Return the largest subnet of a table; an empty string is the full subnet of the encoder."""
    if settings.subnet == ALL_SUBNETS or "" in settings.subnet:
        return ""
    return max(settings.subnet, key=Subnet.parse)


def _with_subnets(settings: SystemSettings, subnets: set[str]) -> SystemSettings:
    """Return the settings of a table with only these of its subnets."""
    if not isinstance(settings, DenseSettings) or not settings.has_several_subnets or ALL_SUBNETS in subnets:
        return settings
    return replace(settings, subnet=tuple(sorted(subnets)))


def _with_default_encoder(settings: SystemSettings) -> SystemSettings:
    if isinstance(settings, DenseSettings) and settings.subnet and not settings.encoder:
        return replace(settings, encoder=DEFAULT_ELASTIC)
    return settings


def _available_subnets(where: str, settings: DenseSettings, available: Sequence[Subnet]) -> list[Subnet]:
    """Return the subnets of a table, in the order of the encoder's subnets."""
    if settings.subnet == ALL_SUBNETS:
        return list(available)
    subnets = {Subnet.parse(spelling) if spelling else available[0] for spelling in settings.subnet}
    if lacking := sorted(subnets - set(available), reverse=True):
        expected = f"the encoder has only the subnets {', '.join(map(str, available))}"
        raise BadInputError(f"{where}.subnet: got {', '.join(map(str, lacking))}, but {expected}: use some of these")
    return [subnet for subnet in available if subnet in subnets]


def _subnet_settings(settings: DenseSettings, table: str, subnet: Subnet) -> SubnetSettings:
    return SubnetSettings(
        title=settings.title,
        encoder=settings.encoder,
        subnet=str(subnet),
        exact=settings.exact,
        precision=settings.precision,
        word_weight=settings.word_weight,
        family=table,
    )


def _single_system(where: str, name: str, systems: Systems, subnets_by_table: Mapping[str, Sequence[Subnet]]) -> str:
    """Return the expanded system that a name refers to where a single one is needed."""
    table, subnet = find_system(where, name, systems)
    if table not in subnets_by_table:
        return table
    subnets = [str(available) for available in subnets_by_table[table]]
    if subnet and subnet not in subnets:
        raise BadInputError(f"{where}: got {name!r}, but {table} has only the subnets {', '.join(subnets)}")
    return subnet_system_name(table, subnet or subnets[0])
