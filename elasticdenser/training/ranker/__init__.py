"""Training of the elastic ranker: from a teacher's scores, from labels, or both.

Where to look:

- `recipe`: all settings of a training; `inputs`: the models, passages and queries that it needs.
- `queries` and `candidates`: training queries, and the pool of passages that a query is trained with.
- `teachers`: the kinds of target scores, cached on disk; `targets`: their mixture, and labels.
- `data`: batches of lists by step; `losses`: what is minimised; `ranker_training`: a step.
- `initialisation`: the state that training starts from; `dev_lists`: the lists that snapshots are compared on.
- `train`: the stages of a training in order.
"""
