"""Utterances with an intent and slots: MTOP, Facebook multilingual, SNIPS, CLINC150 and BANKING77."""

from elasticdenser.datasets.intents.tasks import TASKS, IntentTask, intent_task, load_utterances
from elasticdenser.datasets.intents.utterances import Utterance

__all__ = ["TASKS", "IntentTask", "Utterance", "intent_task", "load_utterances"]
