"""Training of models of intents and slots: a full encoder, and small students of it.

Where to look:

- `recipe`: all settings of a training; `settings`: those of its steps.
- `data`: the utterances, as batches by step, and the teacher's outputs for them.
- `intent_training`: a step, and what it minimises; `train`: the stages of a training in order.
"""
