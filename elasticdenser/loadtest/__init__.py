"""QueueState tests: clients in this process, and what they test in another one, the engine or a server.

Latency counts from the moment at which a request was to be sent, whether or not the client was able to send it then, so
that a target which makes its clients wait cannot hide that from them.
"""
