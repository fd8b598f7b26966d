"""Sharded indexes made of ordinary ones, for tests of everything but their building; shards in this process."""

import asyncio

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


class LocalShard:
    """A shard in this process; `failures` and `hangs` are how many of the next requests fail or hang."""

    def __init__(self, path):
        self.index = PassageIndex.open(path)
        self.n_asked = self.failures = self.hangs = self.n_cancelled = 0
        self.is_closed = False

    n_replicas, n_waiting = 1, 0

    async def start(self):
        pass

    async def ask(self, request):
        self.n_asked += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the replica died")
        if self.hangs:
            self.hangs -= 1
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.n_cancelled += 1
                raise
        return self.index.search(request.queries, request.k, exact=request.exact, recall=request.recall)

    def close(self):
        self.is_closed = True
