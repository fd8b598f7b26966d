"""Load tests: a load generator in this process, and its target, an engine or a server, in another one.

Latency counts from the time at which a request was scheduled, whether or not the load generator could send it then. A
target that makes the load generator wait can therefore not hide that delay (no coordinated omission).
"""
