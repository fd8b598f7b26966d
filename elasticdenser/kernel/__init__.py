"""Kernel in C: forward passes of an encoder in 8 bits, exact scores, and the packing of weights. It needs no torch."""
