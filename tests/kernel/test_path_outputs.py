"""Paths of other processors than this one, in an emulator: the same bits as a path that runs here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from elasticdenser.kernel import paths

SOURCES = Path(paths.__file__).parent
DRIVER = Path(__file__).with_name("path_outputs.c")
# As in setup.py: the results depend on the compiler if it may fuse operations.
FLAGS = ["-std=c99", "-O3", "-fno-math-errno", "-ffp-contract=off"]
COMPILER, ARM_COMPILER, ARM_EMULATOR = "gcc", "aarch64-linux-gnu-gcc", "qemu-aarch64"
MISSING = [name for name in (COMPILER, ARM_COMPILER, ARM_EMULATOR) if not shutil.which(name)]
PACKAGES = ["gcc", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"]  # of Debian


def outputs_of(path: str, folder: Path, compiler: str, *emulator: str) -> dict[str, np.ndarray]:
    """Return the bits of everything that a path computes for the models of path_outputs.c, by name."""
    program = folder / path
    options = [*FLAGS, *(["-static"] if emulator else []), f"-I{SOURCES}", f"-DPATH_UNDER_TEST=ed_{path}"]
    subprocess.run([compiler, *options, DRIVER, SOURCES / f"path_{path}.c", "-o", program, "-lm"], check=True)
    printed = subprocess.run([*emulator, program], check=True, capture_output=True, text=True).stdout
    bits: dict[str, list[int]] = {}
    for line in printed.splitlines():
        if " " in line:
            numbers = bits.setdefault(line, [])
        else:
            numbers.append(int(line, 16))
    return {name: np.array(numbers, np.uint32) for name, numbers in bits.items()}


@pytest.mark.slow
@pytest.mark.skipif("avx2" not in paths._PATHS, reason="needs the kernel and a processor with AVX2")
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: apt install {' '.join(PACKAGES)}")
def test_neon_computes_the_bits_of_avx2(tmp_path):
    expected = outputs_of("avx2", tmp_path, COMPILER)
    outputs = outputs_of("neon", tmp_path, ARM_COMPILER, ARM_EMULATOR, "-cpu", "max")
    assert outputs.keys() == expected.keys()
    for name, bits in outputs.items():
        np.testing.assert_array_equal(bits, expected[name], err_msg=name)
        # Absent candidates, and passages without tokens, have the score -infinity.
        if not name.startswith(("rescoring", "maxsim")):
            assert np.isfinite(bits.view(np.float32)).all(), name
            assert len(np.unique(bits)) > len(bits) / 3, name
