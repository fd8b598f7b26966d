"""Checks of the place of a new build: another index, the same one, or an unfinished build may be there."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import journal, layout
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.integrity import check_integrity
from elasticdenser.index.plan import BuildPlan, BuildSettings
from elasticdenser.index.structures import choose_factory
from elasticdenser.index.structures.registry import AUTO


def refuse_other_content(path: Path, settings: BuildSettings) -> None:
    """Refuse to build where something other than an index is, before the corpus is read."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / layout.MANIFEST).exists():
        raise BuildError(f"{path} exists and is not an index: choose another place with -o")
    try:
        IndexContents.read(path)
    except IndexFormatError as error:
        if not settings.overwrite:
            raise BuildError(f"{error}; or choose another place with -o") from None


def discard_same_build(work: Path, plan: BuildPlan) -> None:
    """Remove the build folder beside a finished index, unless something else is being built there."""
    unfinished = BuildPlan.read(work)
    if unfinished is None or not plan.differences(unfinished):
        journal.discard(work)


def is_up_to_date(path: Path, plan: BuildPlan, settings: BuildSettings) -> bool:
    """Return whether `path` is already the requested index; refuse another index that must not be replaced."""
    if not (path / layout.MANIFEST).exists():
        return False
    try:
        manifest = IndexContents.read(path).manifest
        differences = plan.differences(BuildPlan.of_index(manifest))
        if not differences:
            check_integrity(path, manifest)
    except IndexFormatError as error:
        if settings.overwrite:
            return False
        raise BuildError(f"{error}; or choose another place with -o") from None
    factory = choose_factory(manifest.n_passages, manifest.dim) if settings.factory == AUTO else settings.factory
    same_postings = settings.stemmer in (None, manifest.stemmer)
    if not differences and factory == manifest.structure.factory and same_postings:
        return True
    if settings.overwrite:
        return False
    if not differences and not same_postings:
        raise BuildError(
            f"{path} holds these passages without words of this stemmer: add them with `elasticdenser rebuild {path} "
            f"--hybrid --stemmer {settings.stemmer}`"
        )
    if not differences:
        raise BuildError(
            f"{path} holds these passages with the structure {manifest.structure.factory}: change it with "
            f"`elasticdenser rebuild {path} --factory {settings.factory}`"
        )
    raise BuildError(
        f"{path} is already an index of something else (requested against existing: {'; '.join(differences)}): choose "
        "another place with -o, or replace it with --overwrite"
    )


def adopt_plan(work: Path, plan: BuildPlan, settings: BuildSettings) -> None:
    """Continue the build in `work` if its plan agrees, else start a new build there."""
    unfinished = BuildPlan.read(work)
    differences = plan.differences(unfinished) if unfinished else []
    if differences and not settings.restart and journal.n_finished(work):
        raise BuildError(
            f"{work} holds an unfinished build of something else (requested against existing: "
            f"{'; '.join(differences)}): run the command it was started with, discard it with --restart, or choose "
            "another place with -o"
        )
    if differences or unfinished is None:
        journal.reset(work, plan)
