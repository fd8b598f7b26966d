"""Training in several processes gives the result of a single one, and only the main process writes and logs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training_helpers import write_data, write_recipe

from elasticdenser.errors import BadInputError
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.training import parallel
from elasticdenser.training.batches import Batch
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.recipe import read_recipe
from elasticdenser.training.snapshots import snapshot_file
from elasticdenser.training.train import train

ROOT = Path(__file__).parents[2]


def some_batch(n: int) -> Batch:
    return Batch(
        token_ids=torch.arange(n)[:, None],
        mask=torch.ones(n, 1, dtype=torch.bool),
        targets=torch.eye(n),
        bank=torch.ones(3, n),
    )


def test_a_single_process_takes_whole_batches():
    device = torch.device("cpu")
    with parallel.process_group(device) as own_device:
        assert own_device == device and parallel.is_main_process()
        with parallel.main_process_first() as is_main:
            assert is_main
        batch, numbers = some_batch(5), torch.arange(3.0)
        part = parallel.local_part(batch, own_device)
        parallel.average([numbers])
    assert torch.equal(part.token_ids, batch.token_ids) and torch.equal(part.bank, batch.bank)
    assert numbers.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_processes_share_a_batch_but_not_its_bank(monkeypatch, rank):
    monkeypatch.setattr(parallel, "_is_distributed", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    part = parallel.local_part(some_batch(8), torch.device("cpu"))
    assert part.token_ids.flatten().tolist() == list(range(8))[rank::3]
    assert torch.equal(part.targets, torch.eye(8)[rank::3]) and part.bank.shape == (3, 8)
    with pytest.raises(BadInputError, match="a batch of 2 texts for 3 processes"):
        parallel.local_part(some_batch(2), torch.device("cpu"))


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(tiny_model, tmp_path):
    write_data(tmp_path)
    by_difficulty = "bfloat16 = false\ndifficulty = 0.5\ndifficulty_every = 5"
    recipe = write_recipe(tmp_path, tiny_model, ("bfloat16 = false", by_difficulty))
    single = train(read_recipe(recipe), tmp_path / "one", TrainOptions(data=tmp_path, device="cpu", offline=True))

    launcher = "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0"
    command = f"{sys.executable} {launcher} --local-addr 127.0.0.1 -m elasticdenser train"
    arguments = f"{recipe} --data {tmp_path} -o {tmp_path / 'two'} --device cpu --offline"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    result = subprocess.run([*command.split(), *arguments.split()], **options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("greatest fall") == 1
    assert result.stderr.count(" training texts, 40 passages") == 1 and result.stderr.count("step 8 of 10") == 1

    (run,) = (tmp_path / "two.work").glob("run-*/")
    assert single is not None and run.name == single.run.name
    tables = [load_elastic(tmp_path / name).model.table for name in ("one", "two")]
    assert F.cosine_similarity(*tables).min() > 0.99
    start, alone, together = (
        torch.cat([weights.float().flatten() for weights in load_file(path).values()])
        for path in (
            run / "start.safetensors",
            *(snapshot_file(folder / "snapshots", 10) for folder in (single.run, run)),
        )
    )
    # Batches of an odd number of texts are not shared evenly.
    assert (together - alone).norm() < 0.2 * (alone - start).norm()
