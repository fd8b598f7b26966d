"""Kernel in C: forward passes in 8 bits and exact scores, with the packing of weights for it; torch is not imported."""
