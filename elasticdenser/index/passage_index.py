"""PassageIndex: vectors, ids and texts on disk, searched by inner product."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index import layout
from elasticdenser.index.exact import Exhaustive
from elasticdenser.index.layout import Check, Manifest
from elasticdenser.index.line_files import IdTable, LineFile
from elasticdenser.index.locking import only_builder, settled
from elasticdenser.index.rescoring import rescore
from elasticdenser.index.structures import AtEffort, Structure
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.datasets import Corpus
    from elasticdenser.encoders import PassageEncoder


class PassageIndex:
    """An index of passages, opened for search; safe to use from several threads.

    Use `PassageIndex.open` or `PassageIndex.build`.

    Attributes:
        path: The folder.
        manifest: What it is.
        vectors: float32, (n_passages, dim), memory-mapped.
        doc_ids: Document ids by position.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        shape = (manifest.n_passages, manifest.dim)
        # As a plain array: every access to a memmap makes another one, which takes longer than what is wanted of it.
        self.vectors: Vectors = np.asarray(np.memmap(path / layout.VECTORS, dtype="<f4", mode="r", shape=shape))
        self.doc_ids = IdTable(LineFile(path / layout.IDS, path / layout.ID_OFFSETS), path / layout.ID_LOOKUP)
        self._passages = LineFile(path / layout.PASSAGES, path / layout.PASSAGE_OFFSETS) if manifest.has_texts else None
        self._structure = Structure.read(path, manifest.structure, self.vectors)

    @classmethod
    def open(
        cls, path: str | Path, *, encoder: EncoderFingerprint | None = None, check: Check = "changed"
    ) -> PassageIndex:
        """Open an index.

        Args:
            path: Its folder.
            encoder: Fingerprint of the encoder that will search it, to be compared.
            check: `changed` reads files whose size or times are not those seen when they were last found whole,
                `all` reads every file, `sizes` none.

        Raises:
            IndexFormatError: It is missing, damaged, unfinished, or of a newer format.
            EncoderMismatchError: It was made by another encoder.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        layout.check_whole(folder, manifest, check)
        index = cls(folder, manifest)
        if encoder is not None:
            index.check_encoder(encoder)
        return index

    @classmethod
    def build(
        cls,
        corpus: Corpus | str | Path | Sequence[str | Path],
        path: str | Path,
        encoder: PassageEncoder | None = None,
        *,
        factory: str = "auto",
        texts: bool = True,
        overwrite: bool = False,
        restart: bool = False,
        workers: int | None = None,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Encode a corpus into a new index, or go on with a build that was interrupted there, and open it.

        Args:
            corpus: What `open_corpus` takes or gave.
            path: The folder to make.
            encoder: The full-width encoder; by default all-MiniLM-L6-v2.
            factory: FAISS factory string, or `auto` to choose by size.
            texts: Whether the passages' texts are kept, to show them with hits.
            overwrite: Replace a finished index of that name, once the new one is complete.
            restart: Throw away an unfinished build of something else in that place.
            workers: Cores to encode on; None is all usable ones.
            progress: Called with (what, done, of how many).

        Raises:
            BuildError: Something else stands there, another build is running, or the disk refuses.
            BadInputError: The corpus has a fault.
        """
        # What builds is imported here: a search does without.
        from elasticdenser.datasets import Corpus, open_corpus
        from elasticdenser.index.build import BuildSettings, build_index

        if isinstance(corpus, str | Path):
            corpus = [corpus]
        if not isinstance(corpus, Corpus):
            corpus = open_corpus(corpus)
        settings = BuildSettings(factory=factory, texts=texts, overwrite=overwrite, restart=restart, workers=workers)
        path = settled(Path(path))
        if encoder is None:
            from elasticdenser.encoders import PassageEncoder

            encoder = PassageEncoder.from_pretrained()
        build_index(corpus, path, encoder, settings, progress)
        return cls.open(path)

    def __len__(self) -> int:
        return self.manifest.n_passages

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.manifest.dim

    def check_encoder(self, encoder: EncoderFingerprint) -> None:
        """Refuse an encoder whose vectors do not live in this index's space.

        Raises:
            EncoderMismatchError: With everything that differs.
        """
        differences = self.manifest.encoder.differences(encoder)
        if differences:
            raise EncoderMismatchError(
                f"{self.path} was made by another encoder than {encoder.name} (index against encoder: "
                f"{'; '.join(differences)}). Search it with {self.manifest.encoder.name}, or build the index again"
            )

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        within: Positions | None = None,
        exact: bool = False,
        recall: float | None = None,
    ) -> tuple[Scores, Positions]:
        """Return the passages with the highest inner products, in the calling thread.

        The structure proposes candidates; their scores are computed from the stored vectors, one passage at a
        time, so that a query has the same scores alone and among others. Ties are broken by the order of the ids
        in the index.

        Args:
            queries: float32, (n_queries, dim), normalised as the encoder's settings say.
            k: How many hits, at least 1; capped at the number of passages.
            within: int64, (n,): search only these positions, exactly.
            exact: Scan all vectors instead of using the structure.
            recall: Search with the least effort whose recall@10 is such, in the measurements that stand in the
                manifest; None is the greatest effort.

        Returns:
            Scores, float32, and positions, int64, both (n_queries, min(k, n)), best first.

        Raises:
            QueryError: The shape is wrong, k or recall is out of range, or a value is not finite.
        """
        queries = self._checked_queries(queries, k)
        source = self._structure.at(recall)
        faiss.omp_set_num_threads(1)
        if within is not None:
            allowed = self._checked_positions(within)
            if len(allowed) == 0:
                return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
            return self._search(queries, min(k, len(allowed)), Exhaustive(self.vectors, allowed))
        if exact:
            return self._search(queries, min(k, len(self)), Exhaustive(self.vectors))
        scores, positions = self._search(queries, min(k, len(self)), source)
        # Inverted lists and graphs may reach fewer than k passages.
        short = np.flatnonzero(positions[:, -1] < 0)
        if len(short):
            scores[short], positions[short] = self._search(queries[short], min(k, len(self)), Exhaustive(self.vectors))
        return scores, positions

    def _search(self, queries: Vectors, k: int, source: AtEffort | Exhaustive) -> tuple[Scores, Positions]:
        """Return exact scores of the best candidates that `source` proposes.

        What is proposed for one query does not depend on the others: more candidates are asked for row by row.
        """
        most = source.n_allowed if isinstance(source, Exhaustive) else len(self)
        wanted = min(most, k + 16 if isinstance(source, Exhaustive) else source.n_rescored(k))
        found = rescore(queries, source.candidates(queries, wanted), self.vectors, k)
        scores, positions = found.scores, found.positions
        more = np.flatnonzero(found.may_miss(n_tied=1))
        n_tied = found.n_tied[more]
        while len(more) and wanted < most:
            wanted = min(4 * wanted, most)
            found = rescore(queries[more], source.candidates(queries[more], wanted), self.vectors, k)
            scores[more], positions[more] = found.scores, found.positions
            growing = found.may_miss(n_tied)
            more, n_tied = more[growing], found.n_tied[growing]
        return scores, positions

    def _checked_queries(self, queries: Vectors, k: int) -> Vectors:
        if k < 1:
            raise QueryError(f"got k = {k}; expected at least 1")
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise QueryError(f"got query vectors of shape {queries.shape}; expected (n_queries, {self.dim})")
        if not np.isfinite(queries).all():
            raise QueryError("got query vectors with values that are not finite: check the encoder")
        return queries

    def _checked_positions(self, within: Positions) -> Positions:
        positions = np.asarray(within)
        if positions.size and not np.issubdtype(positions.dtype, np.integer):
            raise QueryError(f"got positions of type {positions.dtype}; expected whole numbers")
        positions = np.unique(positions.astype(np.int64))
        if len(positions) and (positions[0] < 0 or positions[-1] >= len(self)):
            raise QueryError(f"got positions from {positions[0]} to {positions[-1]}; expected 0 to {len(self) - 1}")
        return positions

    def positions(self, doc_ids: Iterable[str]) -> Positions:
        """Return the positions of document ids, int64, (n,), for `search(within=...)`.

        Raises:
            QueryError: Some are not in the index.
        """
        return self.doc_ids.positions(doc_ids)

    def passage(self, doc_id: str) -> Passage:
        """Return a passage with its text.

        Raises:
            QueryError: There is no such id.
            IndexFormatError: The index was built without texts.
        """
        return self.passage_at(int(self.positions([doc_id])[0]))

    def text(self, doc_id: str) -> str:
        """Return the text of a passage without its title, as answer match looks it up.

        Raises:
            KeyError: There is no such id.
            IndexFormatError: The index was built without texts.
        """
        position = self.doc_ids.find(doc_id)
        if position < 0:
            raise KeyError(doc_id)
        return self.passage_at(position).text

    def passage_at(self, position: int) -> Passage:
        """Return the passage at a position; raises as `passage` does."""
        if self._passages is None:
            raise IndexFormatError(f"{self.path} holds no texts: build it without --no-texts to show passages")
        record = json.loads(self._passages[position])
        return Passage(doc_id=record["_id"], title=record["title"], text=record["text"])

    @property
    def has_texts(self) -> bool:
        """Whether passages can be shown."""
        return self._passages is not None

    def rebuild(self, factory: str = "auto", progress: Progress = silent) -> PassageIndex:
        """Derive another search structure from the same vectors, without encoding, and reopen.

        Raises:
            BuildError: FAISS does not take the factory string, or the disk refuses.
        """
        return rebuild(self.path, factory, progress)


def rebuild(path: str | Path, factory: str = "auto", progress: Progress = silent) -> PassageIndex:
    """Derive the search structure of the index at `path` anew, also where its file is damaged, and open it.

    Raises:
        IndexFormatError: More than the derived file is damaged.
        BuildError: FAISS does not take the factory string, or the disk refuses.
    """
    folder = settled(Path(path))
    Manifest.read(folder)
    with only_builder(folder), explained_os_errors(folder):
        _rebuild(folder, factory, progress)
    return PassageIndex.open(folder)


def _rebuild(folder: Path, factory: str, progress: Progress) -> None:
    from elasticdenser.index.build import measure_files

    manifest = Manifest.read(folder)
    derived = manifest.structure.files
    truth = {name: entry for name, entry in manifest.files.items() if name not in derived}
    layout.check_whole(folder, replace(manifest, files=truth))
    shape = (manifest.n_passages, manifest.dim)
    vectors = np.memmap(folder / layout.VECTORS, dtype="<f4", mode="r", shape=shape)
    structure = Structure.build(vectors, factory, progress=progress)
    structure.write(folder, taken=derived)
    files = {**truth, **measure_files(folder, structure.info.files, progress)}
    replace(manifest, structure=structure.info, files=files).write(folder)
    flush_folder(folder)
    # The files that were replaced, and those of a rebuild that was interrupted.
    for leftover in (*folder.glob("*.faiss"), *folder.glob(".*.tmp")):
        if leftover.name not in structure.info.files:
            leftover.unlink(missing_ok=True)
