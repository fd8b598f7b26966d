"""Label-free training of the elastic query encoder: every subnet learns to give the full encoder's own query vectors.

Where to look:

- `recipe` and `settings`: all that a training can be told; `texts`: the training texts.
- `train`: the stages of a training in order; `inputs`: the models, texts and passages that it needs.
- `targets` and `data`: the full encoder's vectors of the texts, cached on disk, and batches of them.
- `initialisation` and `table_fit`: the state that training starts from.
- `loop`: the loop over steps, which writes `checkpoints`; one step happens in `Distillation.train_step` (`distil`) for
  the subnets, and in `TableTuning.train_step` (`table_tuning`) for level 0; `losses` has what they minimise.
- `snapshots`: the weights at some steps; `selection`: the choice of the best of them on dev sets (`dev_sets`).
- `parallel`: training in several processes.
"""
