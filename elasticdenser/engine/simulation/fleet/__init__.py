"""Simulation of several machines: routers that encode queries, and shards with replicas that search."""
