"""Sharded indexes made of ordinary ones, for tests of everything but their building."""

from elasticdenser.datasets import Corpus
from elasticdenser.index import PassageIndex
from elasticdenser.index.sharding.manifest import ShardedManifest, shard_folder


def shard_names(n):
    return [f"{number:05}" for number in range(n)]


def make_sharded(path, passages, encoder, n_shards, factory="Flat", **options):
    """Build an index of `passages`, cut into shards of nearly equal size, and open it."""
    names, bounds = shard_names(n_shards), [len(passages) * i // n_shards for i in range(n_shards + 1)]
    for name, start, stop in zip(names, bounds, bounds[1:], strict=False):
        own = passages[start:stop]
        corpus = Corpus.from_passages("passages", lambda own=own: own)
        PassageIndex.build(corpus, shard_folder(path, name), encoder, factory=factory, **options)
    ShardedManifest.of_shards(path, names).write(path)
    return PassageIndex.open(path)
