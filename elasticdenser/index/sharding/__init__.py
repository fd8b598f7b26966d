"""Sharded indexes: parts of a corpus that are built separately, each an index of its own, and searched as one."""
