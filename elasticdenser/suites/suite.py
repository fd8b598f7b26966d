"""Suites: the content of a suite file as objects; `settings` describes the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from elasticdenser.errors import BadInputError
from elasticdenser.subnet import Subnet
from elasticdenser.suites.settings import CorpusSettings, DenseSettings, QuerySetSettings, SystemSettings
from elasticdenser.suites.subnets import expand_subnets, select_systems, with_normalised_subnets


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Data sets, systems and measures to evaluate. Each system comes after those that it fuses or reranks.

    Attributes:
        title: Title of the report.
        baseline: Name of the system that the others are compared with; of a table with several subnets, the largest.
        k: Hits per query, for query sets that do not set it themselves.
        corpora: Settings of the corpora by name.
        query_sets: Settings of the query sets by name.
        systems: Settings of the systems by name.
        register: ir_datasets id -> file of questions and answers in the format of DPR.
    """

    title: str
    baseline: str
    k: int
    corpora: Mapping[str, CorpusSettings]
    query_sets: Mapping[str, QuerySetSettings]
    systems: Mapping[str, SystemSettings]
    register: Mapping[str, str] = field(default_factory=dict)

    def only(self, *, query_sets: Sequence[str], systems: Sequence[str]) -> Suite:
        """Return the suite with only some query sets, and some systems or subnets of them; an empty choice means all.

        The baseline and the systems that others fuse or rerank are always included.

        Raises:
            BadInputError: There is no such query set or system.
        """
        for name in query_sets:
            check_known("the choice of query sets", name, self.query_sets)
        return replace(
            self,
            query_sets={
                name: settings for name, settings in self.query_sets.items() if not query_sets or name in query_sets
            },
            systems=select_systems(self.baseline, self.systems, systems),
        )

    def with_subnets(self, subnets: Sequence[str]) -> Suite:
        """Return the suite with these subnets for all systems of type dense; an empty choice changes nothing.

        Raises:
            BadInputError: A spelling does not name a subnet.
        """
        if not subnets:
            return self
        subnet = subnets[0] if len(subnets) == 1 else tuple(subnets)
        systems = {
            name: with_normalised_subnets(replace(settings, subnet=subnet), f"systems.{name}")
            if isinstance(settings, DenseSettings)
            else settings
            for name, settings in self.systems.items()
        }
        return replace(self, systems=systems)

    def with_precision(self, precision: str | None) -> Suite:
        """Return the suite with this precision for all systems of type dense; None changes nothing.

        Raises:
            ValueError: There is no such precision.
        """
        if precision is None:
            return self
        systems = {
            name: replace(settings, precision=precision) if isinstance(settings, DenseSettings) else settings
            for name, settings in self.systems.items()
        }
        return replace(self, systems=systems)

    def expanded(self, subnets_of: Callable[[str], Sequence[Subnet]]) -> Suite:
        """Return the suite with a system for each subnet of the tables that have several.

        Args:
            subnets_of: Encoder -> its subnets, largest first; called only for tables with several subnets.

        Raises:
            BadInputError: An encoder lacks a subnet, or two systems have the same name.
        """
        baseline, systems = expand_subnets(self.baseline, self.systems, subnets_of)
        return replace(self, baseline=baseline, systems=systems)


def check_known(where: str, name: str, known: Mapping[str, object]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        BadInputError: The name is unknown.
    """
    if name not in known:
        raise BadInputError(f"{where}: got {name!r}, expected one of {', '.join(known)}")
