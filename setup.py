"""Build of the kernel in C; everything else about the package is in pyproject.toml.

The kernel is optional: where it cannot be built, torch encodes queries in float32 and FAISS computes exact scores. One
build serves all versions of Python from 3.11 on, except those without a global lock, which have no stable ABI.
"""

import sys
import sysconfig

from setuptools import Extension, setup

FOLDER = "elasticdenser/kernel"
SOURCES = ["kernel", "path_amx", "path_avx512", "path_avx_vnni", "path_avx2", "path_neon", "path_portable"]
HEADERS = [
    *("model", "forward", "products", "tiles", "attention", "rescoring", "maxsim", "words"),
    *("simd_avx512", "simd_avx2", "simd_neon", "simd_reduce", "simd_portable"),
]
# Each path's source names the instructions that it uses. The compiler must not fuse multiplications and additions by
# itself: a text's vector would depend on how it compiled the block that the text is in. Debugging information would
# make the module ten times as large.
FLAGS = ["-std=c99", "-O3", "-g0", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra"]
IS_STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "elasticdenser.kernel._kernel",
            sources=[f"{FOLDER}/{name}.c" for name in SOURCES],
            depends=[f"{FOLDER}/{name}.h" for name in HEADERS],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if IS_STABLE else [],
            extra_compile_args=[] if sys.platform == "win32" else FLAGS,
            py_limited_api=IS_STABLE,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if IS_STABLE else {},
)
