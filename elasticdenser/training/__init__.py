"""Training of elastic models. `kinds` has the kinds of models that a recipe can train; `ranker` is the package of one.

The rest trains the elastic query encoder without labels: every subnet learns to give the full encoder's own query
vectors. Where to look:

- `recipe` and `settings`: all settings of a training; `texts`: the training texts.
- `train`: the stages of a training in order; `inputs`: the models, texts and passages that it needs.
- `targets` and `data`: the full encoder's vectors of the texts, cached on disk, and batches of them.
- `initialisation` and `table_fit`: the state that training starts from.
- `loop`: the loop over steps, which writes `checkpoints`. A step is `Distillation.train_step` (`distil`) for the
  subnets and `TableTuning.train_step` (`table_tuning`) for level 0; both minimise the losses in `losses`.
- `stages`, `subnet_training` and `loop`: what all kinds of models share.
- `snapshots`: the weights at some steps; `selection`: the choice of the best of them on dev sets (`dev_sets`),
  with the figures in `retention`.
- `parallel`: training in several processes.
"""

from elasticdenser.lazy_imports import check_installed

check_installed("training", "train", "torch", "safetensors", "scipy")
