"""Training of the elastic classifier on a task of GLUE: a full encoder is fine-tuned, then distilled into all subnets.

Where to look:

- `recipe`: all settings of a training; `settings`: those of its steps.
- `data`: the examples, as batches by step; `augmentation`: their copies; `losses`: what is minimised.
- `teacher`: the fine-tuned full encoder and its outputs; `classifier_training`: a step of either training.
- `initialisation`: the state that training starts from; `train`: the stages of a training in order.
"""
