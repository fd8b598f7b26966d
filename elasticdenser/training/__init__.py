"""Label-free training of the elastic query encoder: every size learns to give the full encoder's own query vector."""
