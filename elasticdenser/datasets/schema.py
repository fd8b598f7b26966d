"""Names of the fields that hold id, text and title, and the columns of files that are named after them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from elasticdenser.datasets.metadata.selection import MetadataSelection
from elasticdenser.errors import BadInputError

_MAX_FIELDS_SHOWN, _MAX_FIELD_LENGTH = 8, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldNames:
    """Names of the fields that a corpus is read from, where they are not the usual ones.

    Several fields are joined: `abstract+body`. In a TSV or CSV file without a header, the columns are numbered from 1.

    Attributes:
        id: Field of the id; by default `_id`, `id`, `doc_id`, `docid`, `docno` or `pid`. Several are joined by `-`.
        text: Field of the text; by default `text` or `contents`. Several are joined by line breaks.
        title: Field of the title; by default `title`. Several are joined by spaces.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None

    @property
    def options(self) -> list[str]:
        """The options of the command line that name these fields."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True, slots=True)
class Role:
    """Fields that hold one part of a passage or query.

    Attributes:
        names: Names of the fields.
        chosen: Whether a user named them: then all are read and joined, otherwise the first that is not blank.
    """

    names: tuple[str, ...]
    chosen: bool = False

    def renamed(self, option: str, names: str | None) -> Role:
        """Return the role with the fields that a user named, if any.

        Raises:
            BadInputError: A name is empty.
        """
        if names is None:
            return self
        parts = tuple(part.strip() for part in names.split("+"))
        if not all(parts):
            message = f"--{option} is {names!r}, expected the name of a field, or several such as abstract+body"
            raise BadInputError(message)
        return Role(parts, chosen=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """Roles of fields, and the fields that are kept as metadata; queries have neither titles nor metadata."""

    id: Role
    text: Role
    title: Role = Role(())
    metadata: MetadataSelection = field(default_factory=MetadataSelection)

    @property
    def roles(self) -> tuple[Role, Role, Role]:
        """All roles, in the order of the columns of a file without a header."""
        return self.id, self.text, self.title

    @property
    def chosen(self) -> list[str]:
        """The fields that a user named."""
        chosen = [name for role in self.roles if role.chosen for name in role.names]
        return [*chosen, *(name for name in self.metadata.types if name not in chosen)]

    def with_names(self, names: FieldNames) -> Schema:
        """Return the schema with the fields that a user named.

        Raises:
            BadInputError: A name is empty.
        """
        return replace(
            self,
            id=self.id.renamed("id", names.id),
            text=self.text.renamed("text", names.text),
            title=self.title.renamed("title", names.title),
        )


PASSAGES = Schema(
    id=Role(("_id", "id", "doc_id", "docid", "docno", "pid")), text=Role(("text", "contents")), title=Role(("title",))
)
QUERIES = Schema(id=Role(("_id", "id", "query_id", "qid")), text=Role(("text", "query", "question")))


@dataclass(frozen=True, slots=True)
class FieldsFound:
    """Fields that the records of a corpus, or of a range of it, were found to have.

    Attributes:
        names: Their names, of many the first ones.
        missing: Fields that a user named, and no record has.
    """

    names: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()

    @classmethod
    def in_all(cls, ranges: Iterable[FieldsFound]) -> FieldsFound:
        """Return the fields of a whole, of whose ranges some may lack a field."""
        names, missing = zip(*((fields.names, fields.missing) for fields in ranges), strict=True)
        return cls(frozenset().union(*names), frozenset.intersection(*missing))

    def check(self, corpus: str) -> None:
        """Refuse names of fields that no record of a corpus has.

        Raises:
            BadInputError: There is one.
        """
        if self.missing:
            missing = ", ".join(map(repr, sorted(self.missing)))
            message = f"no record of the corpus {corpus!r} has a field {missing}: the fields are {listed(self.names)}"
            raise BadInputError(f"{message}; correct the name")


def column_names(header: Iterable[str], schema: Schema) -> list[str]:
    """Return the names of columns, with the usual ones in lower case."""
    usual = {name for role in schema.roles if not role.chosen for name in role.names}
    stripped = (name.strip() for name in header)
    return [name.lower() if name.lower() in usual and name not in schema.chosen else name for name in stripped]


def check_columns(columns: list[str], schema: Schema, path: str) -> None:
    """Refuse names of columns that are given twice, or that hold id, text or title for a user, and the file lacks.

    Metadata may be in other files of the corpus.

    Raises:
        BadInputError: There is one.
    """
    if repeated := [
        name for name in columns if columns.count(name) > 1 and name in {*PASSAGES.id.names, *schema.chosen}
    ]:
        raise BadInputError(f"two columns are called {repeated[0]!r}: rename one of them", path)
    chosen = [name for role in schema.roles if role.chosen for name in role.names]
    if missing := [name for name in chosen if name not in columns]:
        raise BadInputError(
            f"no column is called {missing[0]!r}: the columns are {listed(columns)}; correct the name", path
        )


def listed(names: Iterable[str]) -> str:
    """Return names for a message, at most eight of them."""
    shown = sorted(names)
    more = ", ..." if len(shown) > _MAX_FIELDS_SHOWN else ""
    return f"{', '.join(name[:_MAX_FIELD_LENGTH] for name in shown[:_MAX_FIELDS_SHOWN])}{more}"
