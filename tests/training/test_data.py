"""Batches of training texts, and the cache of their targets on disk."""

import hashlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from elasticdenser import ElasticQueryEncoder
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError, QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.training import row_cache
from elasticdenser.training.data import TextOrder, TrainingData
from elasticdenser.training.targets import prepare_data

N = 150
BATCH_SIZE = 4
N_BATCHES = 38


class Stop(BaseException):
    """Interrupts the preparation."""


class RecordedProgress:
    """Progress that records its calls, and may raise Stop at one of them."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def __call__(self, activity, done, total):
        self.calls.append((activity, done, total))
        if (activity, done) == self.stop_at:
            raise Stop

    def done(self, word):
        return [done for activity, done, _ in self.calls if word in activity]


def some_texts(n, word="number"):
    return [f"{word} {i} " + "lorem ipsum dolor "[: i % 18] + "x" * (i % 5) for i in range(n)]


@pytest.fixture(scope="module")
def texts():
    return some_texts(N)


@pytest.fixture(scope="module")
def make_index(tiny_encoder, tmp_path_factory):
    def make(n):
        passages = [Passage(doc_id=str(i), text=f"passage {i} of {i % 7}") for i in range(n)]
        corpus = Corpus.from_passages(f"{n} passages", lambda: passages)
        return PassageIndex.build(corpus, tmp_path_factory.mktemp("index") / "index", tiny_encoder)

    return make


@pytest.fixture(scope="module")
def index(make_index):
    return make_index(80)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(row_cache, "CHUNK_ROWS", 40)


@pytest.fixture
def prepare(texts, tiny_query_encoder, index, tmp_path):
    def prepared(texts=texts, encoder=tiny_query_encoder, index=index, **options):
        return prepare_data(texts, encoder, index, tmp_path / "cache", **options)

    return prepared


@pytest.fixture
def clean(texts, tiny_query_encoder):
    """Unpadded token ids -> row number of the text without typing errors that has them."""
    sequences = tiny_query_encoder._tokenize(texts, "")
    return {tuple(token_ids): row for row, token_ids in enumerate(sequences)}


def sequences_of(batch):
    return [tuple(ids[mask].tolist()) for ids, mask in zip(batch.token_ids, batch.mask, strict=True)]


def same(first, second):
    return all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("token_ids", "mask", "targets", "bank")
    )


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_batch_has_the_documented_shapes_and_types(prepare):
    batch = prepare().batch(0, BATCH_SIZE, seed=0)
    n, length = batch.token_ids.shape
    assert (n, batch.token_ids.dtype, batch.mask.dtype) == (BATCH_SIZE, torch.int64, torch.bool)
    assert batch.mask.shape == (n, length) and batch.mask.any(dim=0).all()
    assert (batch.targets.shape, batch.targets.dtype, batch.bank.dtype) == ((n, 32), torch.float32, torch.float32)
    assert torch.allclose(batch.targets.norm(dim=1), torch.ones(n))


def test_targets_are_the_full_encoders_vectors(prepare, texts, tiny_query_encoder, clean):
    data = prepare()
    vectors = tiny_query_encoder.encode(texts)
    assert np.abs(data.targets - vectors).max() < 1e-3
    for step in range(5):
        batch = data.batch(step, BATCH_SIZE, seed=0)
        rows = [clean[ids] for ids in sequences_of(batch)]
        assert np.abs(batch.targets.numpy() - vectors[rows]).max() < 1e-3


def test_an_epoch_holds_every_text_once(prepare, clean):
    data = prepare()
    assert data.batches_per_epoch(BATCH_SIZE) == N_BATCHES
    orders = []
    for epoch in range(2):
        batches = [data.batch(epoch * N_BATCHES + step, BATCH_SIZE, seed=0) for step in range(N_BATCHES)]
        assert {len(batch.targets) for batch in batches} == {3, 4}
        orders.append([clean[ids] for batch in batches for ids in sequences_of(batch)])
        assert sorted(orders[-1]) == list(range(N))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("batch_size", [1, 7, N, 1000])
def test_batches_of_any_size_cover_all_texts(prepare, clean, batch_size):
    data = prepare()
    batches = [data.batch(step, batch_size, seed=3) for step in range(data.batches_per_epoch(batch_size))]
    assert max(len(batch.targets) for batch in batches) <= batch_size
    assert sorted(clean[ids] for batch in batches for ids in sequences_of(batch)) == list(range(N))


@pytest.mark.slow
@pytest.mark.parametrize("with_index", [True, False])
def test_a_batch_depends_on_its_step_alone(prepare, index, with_index):
    options = {"seed": 5, "typo_share": 0.5, "n_random": 10}
    first, second = (prepare(index=index if with_index else None) for _ in range(2))
    steps = [0, 1, 33, 37, 38, 70, 100]
    batches = {step: first.batch(step, BATCH_SIZE, **options) for step in steps}
    first.batch(3, 5, seed=0)
    assert all(same(second.batch(step, BATCH_SIZE, **options), batches[step]) for step in reversed(steps))
    assert not same(first.batch(0, BATCH_SIZE, **{**options, "seed": 6}), batches[0])


def test_texts_of_a_batch_are_of_similar_length(prepare):
    data = prepare()
    for share in (0.0, 0.5):
        batches = [data.batch(step, BATCH_SIZE, seed=0, typo_share=share) for step in range(32)]
        # Not more, because lengths are rounded up, which matters for texts as short as these.
        assert sum(batch.mask.sum() for batch in batches) / sum(batch.mask.numel() for batch in batches) > 0.8
        assert all(batch.mask.shape[1] % 8 == 0 or batch.mask.shape[1] in range(2, 17, 2) for batch in batches)
        lengths = [batch.mask.shape[1] for batch in batches]
        assert lengths != sorted(lengths)


def test_batches_of_long_texts_hold_fewer(prepare):
    data = prepare(texts=["x" * (10 + i) for i in range(32)])
    batches = [data.batch(step, 8, seed=0) for step in range(4)]
    # The longest texts of the batches have 19, 27, 35 and 43 tokens.
    assert sorted(len(batch.mask) for batch in batches) == [5, 7, 8, 8]
    # The texts that are left out are drawn, so that each has its turn.
    seen = {int(length) for step in range(40) for length in data.batch(step, 8, seed=0).mask.sum(dim=1)}
    assert seen == {12 + i for i in range(32)}


@pytest.mark.slow
def test_typo_share_is_the_share_of_texts_with_typing_errors(prepare, clean, texts):
    data = prepare()

    def n_clean(share):
        batches = [data.batch(step, BATCH_SIZE, seed=0, typo_share=share) for step in range(4 * N_BATCHES)]
        return sum(ids in clean for batch in batches for ids in sequences_of(batch))

    assert n_clean(0.0) == 4 * N
    assert n_clean(1.0) == 0
    assert 0.65 < n_clean(0.3) / (4 * N) < 0.75


def test_typing_errors_leave_targets_clean(prepare):
    data = prepare()
    batches = [data.batch(step, BATCH_SIZE, seed=0, typo_share=1.0) for step in range(N_BATCHES)]
    batch_targets = np.sort(np.concatenate([batch.targets.numpy() for batch in batches]), axis=0)
    targets = np.asarray(data.targets, np.float32)
    targets = np.sort(targets / np.linalg.norm(targets, axis=1, keepdims=True), axis=0)
    assert np.allclose(batch_targets, targets, atol=1e-6)


def test_batches_without_the_newer_options_are_those_of_before(texts):
    """The digest was computed before the options were added: trainings of before still resume."""

    class LettersEncoder:
        settings = SimpleNamespace(max_length=64, query_prompt="", normalize=True)

        def _tokenize(self, texts, prompt):
            return [[ord(letter) % 97 for letter in text] for text in texts]

    texts = [f"number {i} " + "lorem ipsum dolor "[: i % 18] + "x" * (i % 40) for i in range(N)]
    targets = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float16)
    data = TrainingData(texts, LettersEncoder(), None, targets=targets, neighbours=None)
    digest = hashlib.sha256()
    for step in range(90):
        batch = data.batch(step, 4, seed=3, typo_share=0.4, n_random=5)
        for tensor in (batch.token_ids, batch.mask):
            digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest() == "97c9451bddda94400f135fc1c9c79c5232f086e7b3634401991d00d98bb1b85e"


@pytest.mark.slow
def test_variant_share_is_the_share_of_texts_that_vary(prepare, tiny_query_encoder):
    texts = [f"Is the Number {i} a Prime?" for i in range(N)]
    clean = {tuple(ids) for ids in tiny_query_encoder._tokenize(texts, "")}
    data = prepare(texts)

    def n_clean(share):
        batches = [data.batch(step, BATCH_SIZE, seed=0, variant_share=share) for step in range(4 * N_BATCHES)]
        return sum(ids in clean for batch in batches for ids in sequences_of(batch))

    assert n_clean(0.0) == 4 * N and n_clean(1.0) == 0
    assert 0.65 < n_clean(0.3) / (4 * N) < 0.75
    # Targets stay those of the clean texts.
    batches = [data.batch(step, BATCH_SIZE, seed=0, variant_share=1.0) for step in range(N_BATCHES)]
    targets = torch.cat([batch.targets for batch in batches])
    expected = data.normalised_targets(np.arange(N))
    assert torch.allclose(targets.sort(dim=0).values, expected.sort(dim=0).values, atol=1e-6)


def test_a_given_order_names_the_texts_of_its_steps(prepare, clean):
    data = prepare()
    rows = np.repeat(np.arange(5, 15), 4)
    order = TextOrder(number=2, first_step=20, n_batches=10, rows=rows)
    batches = [data.batch(step, BATCH_SIZE, seed=0, order=order) for step in range(20, 30)]
    assert sorted(clean[ids] for batch in batches for ids in sequences_of(batch)) == rows.tolist()
    assert same(prepare().batch(25, BATCH_SIZE, seed=0, order=order), batches[5])


def test_bank_holds_the_nearest_passages(prepare, index):
    data = prepare(n_neighbours=3)
    vectors = torch.from_numpy(np.array(index.vectors))
    for step in range(10):
        batch = data.batch(step, BATCH_SIZE, seed=0, n_random=20)
        assert len(torch.unique(batch.bank, dim=0)) == len(batch.bank) <= 20 + 3 * BATCH_SIZE
        best = (batch.targets @ vectors.T).topk(3).values
        assert torch.allclose((batch.targets @ batch.bank.T).topk(3).values, best, atol=1e-5)
    assert len(data.batch(0, BATCH_SIZE, seed=0, n_random=10_000).bank) == len(index)
    assert data.neighbours.shape == (N, 3)


def test_bank_without_an_index_is_of_targets(prepare):
    data = prepare(index=None)
    batch = data.batch(0, BATCH_SIZE, seed=0, n_random=20)
    assert BATCH_SIZE < len(batch.bank) <= BATCH_SIZE + 20
    assert torch.allclose((batch.targets @ batch.bank.T).max(dim=1).values, torch.ones(BATCH_SIZE))
    assert len(data.batch(0, BATCH_SIZE, seed=0, n_random=0).bank) == BATCH_SIZE


def test_cached_targets_are_not_computed_again(prepare, monkeypatch, tmp_path):
    first = prepare()
    before = files(tmp_path)
    monkeypatch.setattr(ElasticQueryEncoder, "encode", None)
    recorded = RecordedProgress()
    second = prepare(progress=recorded)
    assert recorded.calls == [] and files(tmp_path) == before
    assert same(first.batch(7, BATCH_SIZE, seed=0), second.batch(7, BATCH_SIZE, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("activity", ["Encoding training texts", "Finding nearest passages"])
def test_preparation_resumes_after_an_interruption(prepare, tmp_path, activity):
    prepare()
    whole = files(tmp_path)
    for path in (tmp_path / "cache").rglob("*.*"):
        path.unlink()
    with pytest.raises(Stop):
        prepare(progress=RecordedProgress(stop_at=(activity, 120)))
    recorded = RecordedProgress()
    prepare(progress=recorded)
    # The last chunk may not have been on the disk, so it is computed again.
    assert recorded.done(activity) == [80, 120, 150]
    assert files(tmp_path) == whole


@pytest.mark.parametrize("n_bytes", [0, 1, 63, 64, 64 * 40, 64 * 40 + 1, 64 * N - 1, 64 * N])
def test_preparation_resumes_from_a_truncated_file(prepare, tmp_path, n_bytes):
    prepare(index=None)
    whole = files(tmp_path)
    (path,) = tmp_path.rglob("targets.f16")
    os.replace(path, path.with_name("targets.f16.part"))
    os.truncate(path.with_name("targets.f16.part"), n_bytes)
    prepare(index=None)
    assert files(tmp_path) == whole


@pytest.mark.slow
def test_other_inputs_get_folders_of_their_own(prepare, texts, index, make_index, tiny_model, tmp_path):
    def n_folders():
        folders = list((tmp_path / "cache").iterdir())
        assert all(len(folder.name) == 12 for folder in folders)
        return len(folders)

    prepare(index=None)
    before = files(tmp_path)
    assert n_folders() == 1
    prepare()
    assert n_folders() == 2
    prepare(index=make_index(81))
    assert n_folders() == 3
    prepare(n_neighbours=2)
    assert n_folders() == 4
    prepare(texts[:-1], index=None)
    prepare([*texts[1:], texts[0]], index=None)
    assert n_folders() == 6
    prepare(
        encoder=ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu", max_length=9),
        index=None,
    )
    assert n_folders() == 7
    assert before.items() <= files(tmp_path).items()
    manifests = [json.loads(path.read_text()) for path in tmp_path.rglob("manifest.json")]
    assert sorted(manifest["n_texts"] for manifest in manifests) == [149, 150, 150, 150]


def test_damage_and_bad_arguments_are_refused(prepare, tmp_path, tiny_model):
    data = prepare(index=None)
    (path,) = tmp_path.rglob("targets.f16")
    os.truncate(path, 100)
    with pytest.raises(BuildError, match=r"has 100 bytes, expected 9600: remove it"):
        prepare(index=None)
    with pytest.raises(BadInputError, match="no training texts"):
        prepare([])
    with pytest.raises(QueryError, match="training text number 2"):
        prepare(["a", " "])
    with pytest.raises(BadInputError, match="got 0 neighbours"):
        prepare(n_neighbours=0)
    with pytest.raises(BadInputError, match="batches of 0 texts"):
        data.batch(0, 0, seed=0)
    with pytest.raises(EncoderMismatchError):
        prepare(
            encoder=ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu", max_length=9)
        )


@pytest.mark.slow
def test_batches_are_the_same_in_another_process(prepare, texts, tiny_model, tmp_path):
    batch = prepare(index=None).batch(9, BATCH_SIZE, seed=2, typo_share=0.5)
    program = f"""
import json, sys
from pathlib import Path
from elasticdenser import ElasticQueryEncoder
from elasticdenser.training.targets import prepare_data
encoder = ElasticQueryEncoder.from_pretrained({str(tiny_model)!r}, dtype="float32", device="cpu")
data = prepare_data(json.load(sys.stdin), encoder, None, Path({str(tmp_path / "cache")!r}))
json.dump(data.batch(9, {BATCH_SIZE}, seed=2, typo_share=0.5).token_ids.tolist(), sys.stdout)
"""
    process = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    assert json.loads(process.stdout) == batch.token_ids.tolist()
