"""Program that builds an index, with an encoder and a window of choice, and is killed while it does."""

import sys

from elasticdenser.datasets import open_corpus
from elasticdenser.encoders import PassageEncoder
from elasticdenser.index import PassageIndex, build

if __name__ == "__main__":
    corpus, path, model, window = sys.argv[1:]
    build.WINDOW = int(window)
    encoder = PassageEncoder.from_pretrained(model, download=False) if model else PassageEncoder.from_pretrained()

    def progress(what, done, of):
        sys.stdout.write(f"{what} {done}\n")
        sys.stdout.flush()

    PassageIndex.build(open_corpus(corpus), path, encoder, workers=1, progress=progress)
    sys.stdout.write("end\n")
