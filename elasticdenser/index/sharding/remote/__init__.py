"""Searches of shards in other processes, which a router asks over sockets."""
