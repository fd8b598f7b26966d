"""Program that builds an index for each line that it reads, each time in a forked process, which may be killed.

What takes seconds is imported once. A build writes its process id, a line for each step of its progress, and its exit
status.
"""

import os
import sys

import torch  # noqa: F401

from elasticdenser.datasets import open_corpus
from elasticdenser.encoders import PassageEncoder
from elasticdenser.encoders.backends import torch as _  # noqa: F401
from elasticdenser.index import PassageIndex, build


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def build_once(corpus, path, model):
    say(f"pid {os.getpid()}")
    encoder = PassageEncoder.from_pretrained(model, download=False)
    options = {"workers": 1, "progress": lambda what, done, of: say(f"{what} {done}")}
    PassageIndex.build(open_corpus(corpus), path, encoder, **options)


if __name__ == "__main__":
    build.WINDOW = int(sys.argv[4])
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            build_once(*sys.argv[1:4])
            os._exit(0)
        say(f"status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
