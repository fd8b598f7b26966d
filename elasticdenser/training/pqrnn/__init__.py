"""Training of a pQRNN as a query encoder: it learns the query vectors of another encoder, without labels.

Where to look:

- `recipe`: all settings of a training.
- `words`: texts as numbers of words, and the features of these words.
- `distillation`: a step; `train`: the stages of a training in order.
"""
