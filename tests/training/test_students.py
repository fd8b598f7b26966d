"""Students: subnets that answer in the vector space of another model, of other dimensions than their own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import VOCABULARY, write_sentence_encoder
from training_helpers import Recorder, write_data, write_recipe
from transformer_models import save_dense, save_sentence_encoder, save_transformer, write_modules, write_own_code
from transformers import BertConfig, BertModel

from elasticdenser import ElasticQueryEncoder, PassageEncoder, Retriever
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BadInputError, EncoderMismatchError, ModelError
from elasticdenser.index import PassageIndex
from elasticdenser.index.exchange import ForeignSpace, import_index
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.elastic_init import fit_exits
from elasticdenser.models.manifest import read_manifest
from elasticdenser.models.trunk import pooled
from elasticdenser.training.batches import Batch, padded, token_ids_of
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.recipe import default_recipe, read_recipe
from elasticdenser.training.space_map import with_exits_of_zero
from elasticdenser.training.table_fit import fit_table
from elasticdenser.training.train import train

TEACHER_DIM = 48


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Folder of a BERT of other dimensions than the tiny encoder, of which it knows nothing."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=TEACHER_DIM,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    write_sentence_encoder(folder, max_length=40, dim=TEACHER_DIM)
    return folder


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def run(recipe, data_folder: Path, output: Path, recorder: Recorder | None = None, **more):
    recorder = recorder or Recorder()
    options = TrainOptions(data=data_folder, device="cpu", offline=True, **more)
    return train(recipe, output, options, progress=recorder, log=recorder.messages.append)


def fit_only(queries: Path, teacher: Path, trunk: Path):
    recipe = default_recipe([str(queries)], [], teacher=str(teacher)).changed(encoder=str(trunk), steps=0)
    return replace(recipe, distil=replace(recipe.distil, bfloat16=False), table=replace(recipe.table, steps=20))


@pytest.fixture(scope="module")
def student(teacher, tiny_elastic, data_folder, tmp_path_factory):
    """A student that was only fitted, of trained subnets with a level 0, and the recorder of its training."""
    recorder, output = Recorder(), tmp_path_factory.mktemp("students") / "fitted"
    return run(fit_only(data_folder / "queries.txt", teacher, tiny_elastic), data_folder, output, recorder), recorder


@pytest.fixture(scope="module")
def index(teacher, data_folder, tmp_path_factory) -> PassageIndex:
    encoder = PassageEncoder.from_pretrained(str(teacher), dtype="float32", device="cpu")
    return PassageIndex.build(data_folder / "corpus.jsonl", tmp_path_factory.mktemp("index") / "index", encoder)


def texts_of(data_folder: Path) -> list[str]:
    return (data_folder / "queries.txt").read_text().splitlines()


def mean_cosine(encoder, full, texts, subnet) -> float:
    return float((encoder.encode(texts, subnet) * full.encode(texts)).sum(axis=1).mean())


@pytest.mark.slow
def test_a_fitted_student_answers_in_the_space_of_its_teacher(student, teacher, data_folder):
    result, recorder = student
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32")
    full = ElasticQueryEncoder.from_pretrained(str(teacher), dtype="float32")
    assert encoder.dim == TEACHER_DIM and result.step == 0 and result.teacher == str(teacher)
    assert [*map(str, encoder.subnets)] == [*map(str, result.subnets)]
    assert str(encoder.full_subnet) == "w1-d2" and "level0" in map(str, encoder.subnets)
    for subnet in encoder.subnets:
        assert mean_cosine(encoder, full, texts_of(data_folder), subnet) > 0.8, subnet
    assert "Mapping the subnets" in recorder.activities and "Training" not in recorder.activities
    assert not (result.folder / "model.safetensors").exists()  # whose vectors lie in another space


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_kernel_gives_the_vectors_of_torch(student, data_folder, dtype):
    from elasticdenser.encoders.backends.kernel import KernelBackend
    from elasticdenser.encoders.backends.torch import TorchBackend

    location = ElasticQueryEncoder.from_pretrained(str(student[0].folder)).location
    encoder = ElasticQueryEncoder.from_pretrained(str(student[0].folder), dtype="float32")
    sequences = token_ids_of(encoder, texts_of(data_folder)[:20])
    kernel = KernelBackend.load(location, encoder.settings, dtype=dtype, device="cpu")
    reference = TorchBackend.load(location, encoder.settings, dtype="float32", device="cpu")
    assert kernel.subnets == reference.subnets and kernel.full_subnet == reference.full_subnet
    for subnet in kernel.subnets:
        cosines = (kernel.forward(sequences, subnet) * reference.forward(sequences, subnet)).sum(axis=1)
        assert cosines.min() > (0.99 if dtype == "int8" else 0.99999), subnet


@pytest.mark.slow
def test_a_student_searches_indexes_of_its_teacher_and_no_others(student, index, tiny_encoder, data_folder, tmp_path):
    folder = str(student[0].folder)
    index.check_encoder(ElasticQueryEncoder.from_pretrained(folder).fingerprint)
    retriever = Retriever.open(index.path, encoder=folder, device="cpu")
    assert len(list(retriever.search({"1": "dune desert"}, k=3))) == 3
    other = PassageIndex.build(data_folder / "corpus.jsonl", tmp_path / "other", tiny_encoder)
    with pytest.raises(EncoderMismatchError, match="was made by another encoder"):
        Retriever.open(other.path, encoder=folder, device="cpu")
    prompted = PassageEncoder.from_pretrained(str(index.manifest.encoder.name), dtype="float32", passage_prompt="p: ")
    other = PassageIndex.build(data_folder / "corpus.jsonl", tmp_path / "prompted", prompted)
    with pytest.raises(EncoderMismatchError, match="passage_prompt: 'p: ' against ''"):
        Retriever.open(other.path, encoder=folder, device="cpu")


def test_a_student_is_refused_with_another_pooling_than_its_subnets(student, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(student[0].folder, folder)
    with pytest.raises(ModelError, match="trained for mean pooling, and it is used with cls"):
        ElasticQueryEncoder.from_pretrained(str(folder), pooling="cls")
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    pooling |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ModelError, match="undo the change of its pooling"):
        ElasticQueryEncoder.from_pretrained(str(folder))


def test_passages_are_not_encoded_by_a_student(student):
    folder = str(student[0].folder)
    for encode in (
        lambda: PassageEncoder.from_pretrained(folder),
        lambda: DeferredPassageEncoder(folder),
        lambda: ElasticQueryEncoder.from_pretrained(folder).encode_passages(["dune"]),
    ):
        with pytest.raises(ModelError, match=r"encodes queries only, expected .*: the passages are its teacher's"):
            encode()


@pytest.mark.slow
def test_a_student_is_trained_further_and_measured_against_its_teacher(student, teacher, tiny_elastic, data_folder):
    path = write_recipe(data_folder, tiny_elastic, ("seed = 1", f'seed = 1\nteacher = "{teacher}"'))
    recorder = Recorder()
    result = run(read_recipe(path), data_folder, student[0].folder.with_name("trained"), recorder)
    assert {"Mapping the subnets", "Tuning level 0", "Training"} <= recorder.activities
    provenance = load_elastic(result.folder).provenance
    assert provenance["name"] == str(teacher) == provenance["space"]["name"]
    assert provenance["trunk"]["name"] == str(tiny_elastic)
    assert set(provenance["retention"]) == set(map(str, result.subnets))  # the largest subnet has a share too
    again = Recorder()
    assert run(read_recipe(path), data_folder, result.folder, again).step == result.step
    assert not again.activities & {"Mapping the subnets", "Tuning level 0", "Training"}


@pytest.mark.slow
def test_a_student_is_a_start_for_the_same_teacher(student, teacher, tiny_elastic, data_folder, tmp_path):
    changes = ("[init]", f'[init]\nmodel = "{student[0].folder}"'), ("seed = 1", f'seed = 1\nteacher = "{teacher}"')
    recipe = replace(read_recipe(write_recipe(data_folder, tiny_elastic, *changes)), table=None, dev_sets=())
    assert run(recipe, data_folder, tmp_path / "more").step == 10
    with pytest.raises(ModelError, match="another vector space"):
        run(replace(recipe, teacher=str(tiny_elastic)), data_folder, tmp_path / "other")


@pytest.mark.slow
def test_an_encoder_without_subnets_becomes_a_student(teacher, tiny_model, data_folder, tmp_path):
    recorder = Recorder()
    result = run(fit_only(data_folder / "queries.txt", teacher, tiny_model), data_folder, tmp_path / "m", recorder)
    assert "Fitting the subnets" in recorder.activities and "Mapping the subnets" not in recorder.activities
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32")
    full = ElasticQueryEncoder.from_pretrained(str(teacher), dtype="float32")
    assert mean_cosine(encoder, full, texts_of(data_folder), "w1-d2") > 0.8


@pytest.mark.slow
def test_an_encoder_of_another_kind_with_a_head_is_a_teacher(tiny_elastic, data_folder, tmp_path):
    folder = save_transformer("deberta-v2", tmp_path / "deberta")
    save_dense(folder / "2_Dense", 32, 20)
    write_modules(folder, "cls", ["Dense", "Normalize"])
    result = run(fit_only(data_folder / "queries.txt", folder, tiny_elastic), data_folder, tmp_path / "mine")
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32")
    full = ElasticQueryEncoder.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert encoder.fingerprint.differences(full.fingerprint) == [] and encoder.dim == 20
    assert mean_cosine(encoder, full, texts_of(data_folder), "w1-d2") > 0.6


@pytest.mark.slow
def test_a_teacher_executes_its_own_code_only_if_that_is_allowed(tiny_elastic, data_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder = save_sentence_encoder("deberta-v2", tmp_path / "own_model")
    write_own_code(folder)
    recipe = fit_only(data_folder / "queries.txt", folder, tiny_elastic)
    with pytest.raises(ModelError, match=r"brings its own code .*--trust-remote-code"):
        run(recipe, data_folder, tmp_path / "mine")
    assert not list(tmp_path.rglob("executed"))
    result = run(recipe, data_folder, tmp_path / "mine", trust_remote_code=True)
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32")
    full = ElasticQueryEncoder.from_pretrained(str(folder), dtype="float32", device="cpu", trust_remote_code=True)
    assert mean_cosine(encoder, full, texts_of(data_folder), "w1-d2") > 0.6


@pytest.mark.slow
def test_exits_are_fitted_to_states_and_level0_together(tiny_elastic, teacher, data_folder):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32")
    model = load_elastic(tiny_elastic).model
    texts = texts_of(data_folder)
    token_ids, mask = padded(token_ids_of(encoder, texts))
    targets = torch.from_numpy(ElasticQueryEncoder.from_pretrained(str(teacher), dtype="float32").encode(texts))
    table = fit_table([Batch(token_ids=token_ids, mask=mask, targets=targets, bank=targets)], model.table, iterations=0)

    def cosines(table):
        student = with_exits_of_zero(model, table, TEACHER_DIM)
        fit_exits(student, [(token_ids, mask, targets)], ridge=1.0)
        vectors = {subnet: student(token_ids, mask, subnet).detach() for subnet in student.shape.grid}
        return {
            subnet: float((F.normalize(own, dim=-1) * targets).sum(dim=1).mean()) for subnet, own in vectors.items()
        }

    with_table, without = cosines(table), cosines(None)
    level0 = F.normalize(pooled(F.embedding(token_ids, table), mask, "mean"), dim=-1)
    for subnet, cosine in with_table.items():
        assert cosine > max(without[subnet], float((level0 * targets).sum(dim=1).mean())), subnet


def with_vectors(path: Path, texts: list[str], vectors: np.ndarray, **changed) -> Path:
    rows = [{"text": text, "vector": vector.tolist()} for text, vector in zip(texts, vectors, strict=True)]
    for number, row in changed.items():
        rows[int(number.removeprefix("row"))] = row
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def api(teacher, data_folder, tmp_path_factory) -> Path:
    """Folder of an imported index of vectors whose encoder is not there, and queries.jsonl with vectors."""
    folder = tmp_path_factory.mktemp("api")
    encoder = ElasticQueryEncoder.from_pretrained(str(teacher), dtype="float32")
    passages = [json.loads(line) for line in (data_folder / "corpus.jsonl").read_text().splitlines()]
    contents = [f"{passage['title']} {passage['text']}" for passage in passages]
    np.save(folder / "vectors.npy", 3 * encoder.encode(contents))
    (folder / "ids.txt").write_text("".join(f"{passage['_id']}\n" for passage in passages))
    with_vectors(folder / "queries.jsonl", texts_of(data_folder), encoder.encode(texts_of(data_folder)))
    from elasticdenser.datasets import open_corpus

    corpus = open_corpus([str(data_folder / "corpus.jsonl")])
    ids, space = folder / "ids.txt", ForeignSpace(name="some-api-3")
    import_index(folder / "vectors.npy", folder / "index", space, ids=ids, corpus=corpus)
    return folder


def from_vectors(vectors: Path, trunk: Path, **changed):
    recipe = default_recipe([], [], teacher_vectors=str(vectors)).changed(encoder=str(trunk), steps=0, **changed)
    return replace(recipe, distil=replace(recipe.distil, bfloat16=False), table=replace(recipe.table, steps=20))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["queries.jsonl", "index"])
def test_vectors_alone_make_a_student_of_an_api(api, tiny_elastic, tmp_path, source):
    index = {"index": str(api / "index")} if source == "queries.jsonl" else {}
    result = run(from_vectors(api / source, tiny_elastic, **index), tmp_path, tmp_path / "mine")
    assert result.teacher == "space:some-api-3"
    retriever = Retriever.open(api / "index", encoder=str(result.folder), device="cpu")
    texts = [retriever.index.passage_at(number).content for number in range(10)]
    cosines = (retriever.encoder.encode(texts) * retriever.index.vectors[:10]).sum(axis=1)
    assert cosines.min() > 0.8
    assert len(list(retriever.search({"1": "dune desert"}, k=5))) == 5


def test_an_index_of_an_api_is_not_searched_without_a_student(api, tiny_elastic):
    with pytest.raises(ModelError, match="vectors of some-api-3, which no encoder here makes: train a student"):
        Retriever.open(api / "index")
    with pytest.raises(ModelError, match="vectors of some-api-3, which no encoder here makes"):
        Retriever.open(api / "index", encoder=str(tiny_elastic), device="cpu")


@pytest.mark.slow
def test_a_name_is_enough_for_a_space(api, tiny_elastic, tmp_path):
    result = run(from_vectors(api / "queries.jsonl", tiny_elastic, space="some-api-3"), tmp_path, tmp_path / "mine")
    own = ElasticQueryEncoder.from_pretrained(str(result.folder)).fingerprint
    assert PassageIndex.open(api / "index").manifest.encoder.differences(own) == []
    assert read_manifest(result.folder).provenance["space"]["name"] == "space:some-api-3"


def test_vectors_come_from_numpy_and_parquet_too(api, data_folder, tmp_path):
    from elasticdenser.training.given_vectors import read_given_vectors

    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    given = read_given_vectors(api / "queries.jsonl")
    assert given.dim == TEACHER_DIM and np.allclose(np.linalg.norm(given.vectors, axis=1), 1, atol=1e-5)
    np.save(tmp_path / "q.npy", given.vectors)
    (tmp_path / "q.txt").write_text("".join(f"{text}\n" for text in given.texts))
    columns = {"text": given.texts, "embedding": given.vectors.tolist()}
    parquet.write_table(pyarrow.table(columns), tmp_path / "q.parquet")
    for name in ("q.npy", "q.parquet"):
        same = read_given_vectors(tmp_path / name)
        assert same.texts == given.texts and np.allclose(same.vectors, given.vectors, atol=1e-6), name


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "dune"}, ":2: got a text without a vector of numbers"),
        ({"text": "dune", "vector": ["a"]}, ":2: got a text without a vector of numbers"),
        ({"vector": [1.0] * TEACHER_DIM}, ":2: got no text"),
        ({"text": "dune", "vector": [1.0] * 5}, ":2: got a vector of 5 dimensions, expected 48, as before"),
        ({"text": "dune", "vector": [float("nan")] * TEACHER_DIM}, ":2: .*not finite"),
        ({"text": "dune", "vector": [0.0] * TEACHER_DIM}, ":2: got a vector that is zero or not finite"),
    ],
)
def test_faults_of_given_vectors_name_the_line(api, tiny_elastic, tmp_path, row, message):
    rows = (api / "queries.jsonl").read_text().splitlines()[:3]
    rows[1] = json.dumps(row)
    (tmp_path / "bad.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(BadInputError, match=message):
        run(from_vectors(tmp_path / "bad.jsonl", tiny_elastic, space="x"), tmp_path, tmp_path / "mine")


def test_vectors_of_another_model_than_the_index_are_refused(api, index, tiny_elastic, tmp_path):
    with_vectors(tmp_path / "short.jsonl", ["dune", "novel"], np.eye(2, 7))
    with pytest.raises(EncoderMismatchError, match="got vectors of 7 dimensions, expected 48"):
        run(from_vectors(tmp_path / "short.jsonl", tiny_elastic, index=str(index.path)), tmp_path, tmp_path / "mine")
    with pytest.raises(EncoderMismatchError, match="got the space space:other"):
        recipe = from_vectors(api / "queries.jsonl", tiny_elastic, index=str(api / "index"), space="other")
        run(recipe, tmp_path, tmp_path / "mine")
    with pytest.raises(BadInputError, match="nothing says which model made these vectors"):
        run(from_vectors(api / "queries.jsonl", tiny_elastic), tmp_path, tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "models/mpnet"}, "both 'teacher_vectors' and 'teacher'"),
        ({"passages": ("corpus.jsonl",)}, "both 'teacher_vectors' and 'passages'"),
        ({"teacher_vectors": ""}, "there are no texts to train on"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(BadInputError, match=message):
        replace(default_recipe([], [], teacher_vectors="vectors.jsonl"), **changes)


def test_a_student_is_no_teacher(student, tiny_elastic, data_folder, tmp_path):
    recipe = fit_only(data_folder / "queries.txt", student[0].folder, tiny_elastic)
    with pytest.raises(ModelError, match="encodes queries only"):
        run(recipe, data_folder, tmp_path / "mine")
