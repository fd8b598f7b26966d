"""A query runtime without torch: the sizes of an encoder in 8-bit arithmetic, by a small kernel in C."""
