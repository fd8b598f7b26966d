"""Registry of policies.

A policy is added in one file, with a class that follows `NamedPolicy`, and one line of `POLICIES`.
"""

from __future__ import annotations

from elasticdenser.engine.policies.aimd import Aimd
from elasticdenser.engine.policies.base import NamedPolicy, Policy, PolicyFactory
from elasticdenser.engine.policies.elastic import Elastic
from elasticdenser.engine.policies.slackfit import SlackFit
from elasticdenser.engine.policies.static import Static
from elasticdenser.engine.policies.thresholds import Thresholds
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.errors import QueryError

__all__ = [
    "POLICIES",
    "NamedPolicy",
    "Policy",
    "PolicyFactory",
    "check_policies",
    "check_policy",
    "expand_policies",
    "make_policy",
    "policy_name",
]

POLICIES: dict[str, type[NamedPolicy]] = {
    "elastic": Elastic,
    "thresholds": Thresholds,
    "slackfit": SlackFit,
    "static": Static,
    "aimd": Aimd,
}
"""The policies by name; other packages may add theirs."""


def make_policy(policy: str | Policy | PolicyFactory, profile: Profile, settings: SchedulerSettings) -> Policy:
    """Return the policy for one scheduler.

    Args:
        policy: A spelling such as `elastic` or `static:w0.5-d3`, of which a new policy is made; a callable that makes
            a new policy of `profile` and `settings`; or a `Policy`, which is used as it is. A policy may keep state, so
            pass the same object to one scheduler only.
        profile: The levels.
        settings: The settings of the scheduler.

    Raises:
        QueryError: There is no such policy or level.
    """
    if isinstance(policy, str):
        return _parse(policy, profile, settings)
    # A class is a factory, even if its attributes make it look like a policy.
    if isinstance(policy, Policy) and not isinstance(policy, type):
        return policy
    if not callable(policy):
        raise QueryError(f"got policy {policy!r}; expected a name, a Policy or a factory of policies")
    return policy(profile, settings)


def policy_name(policy: str | Policy | PolicyFactory, profile: Profile, settings: SchedulerSettings) -> str:
    """Return the name of a policy in results; the arguments are those of `make_policy`."""
    return policy if isinstance(policy, str) else make_policy(policy, profile, settings).name


def check_policy(spelling: str) -> None:
    """Check the spelling of a policy before there is a profile; its level is not checked.

    Raises:
        QueryError: There is no such policy.
    """
    _kind_and_argument(spelling)


def check_policies(spellings: str) -> None:
    """Check a list of policies, as `expand_policies` takes it, before there is a profile; levels are not checked.

    Raises:
        QueryError: There is no such policy.
    """
    for spelling in _split(spellings) or [spellings]:
        if spelling not in POLICIES:
            check_policy(spelling)


def expand_policies(spellings: str, profile: Profile) -> list[str]:
    """Return the policies of a list such as `elastic,static:w0.5-d3,static`, each once.

    A policy that needs a level but names none stands for one policy at each level of the profile's hull.

    Raises:
        QueryError: There is no such policy or level.
    """
    expanded: list[str] = []
    for spelling in _split(spellings):
        needs_level = spelling in POLICIES and _takes_argument(POLICIES[spelling])
        names = [f"{spelling}:{profile.levels[index].name}" for index in profile.hull] if needs_level else [spelling]
        expanded += names
    settings = SchedulerSettings(slo_s=1.0)  # any: the policies are only checked
    for spelling in expanded or [spellings]:
        _parse(spelling, profile, settings)
    return list(dict.fromkeys(expanded))


def _split(spellings: str) -> list[str]:
    return [part.strip() for part in spellings.split(",") if part.strip()]


def _parse(spelling: str, profile: Profile, settings: SchedulerSettings) -> Policy:
    kind, argument = _kind_and_argument(spelling)
    return kind.parse(argument, profile, settings)


def _kind_and_argument(spelling: str) -> tuple[type[NamedPolicy], str]:
    name, _, argument = spelling.partition(":")
    kind = POLICIES.get(name)
    if kind is None or (":" in spelling) != _takes_argument(kind) or (_takes_argument(kind) and not argument):
        known = ", ".join(registered.spelling for registered in POLICIES.values())
        raise QueryError(f"got policy {spelling!r}; expected one of: {known}")
    return kind, argument


def _takes_argument(kind: type[NamedPolicy]) -> bool:
    return ":" in kind.spelling
