"""What computes the vectors: one protocol, one file a backend."""
