"""Builds an index, once more for every line that it is given; run as a program, whose builds are killed.

Every build runs in a forked process, which says its id and its progress; then its exit status is said.
"""

import os
import sys

from elasticdenser.datasets import open_corpus
from elasticdenser.encoders import PassageEncoder
from elasticdenser.index import PassageIndex, build


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def build_once(corpus, path, model):
    say("process", os.getpid())
    encoder = PassageEncoder.from_pretrained(model, download=False)
    PassageIndex.build(open_corpus(corpus), path, encoder, workers=1, progress=lambda what, done, of: say(what, done))


if __name__ == "__main__":
    *given, window = sys.argv[1:]
    build.WINDOW = int(window)
    PassageEncoder.from_pretrained(given[2], download=False)  # imports torch, once for all processes
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                build_once(*given)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
