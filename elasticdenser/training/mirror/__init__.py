"""Training of a sentence encoder from raw text alone: a plain transformer learns to tell texts from each other.

After Mirror-BERT (Liu et al. 2021) and SimCSE (Gao et al. 2021). Every text is read twice, once with a span masked, and
with different dropout; the two vectors shall be closer to each other than to those of the other texts of the batch.

- `recipe`: all settings of a training.
- `data`: the texts and their second readings, as batches by step.
- `mirror_training`: the loss and a step; `train`: the stages of a training in order.
"""
