"""Builds the kernel of the runtime; all else about the package is in pyproject.toml.

It is optional: where it cannot be built, the runtime computes in numpy. One build serves all versions of Python from
3.11 on, but those without a global lock, which have no such stable interface.
"""

import sys
import sysconfig

from setuptools import Extension, setup

FOLDER = "elasticdenser/kernel"
SOURCES = ["kernel", "path_avx512", "path_avx2", "path_portable"]
HEADERS = [
    *("model", "forward", "products", "attention", "rescoring"),
    *("simd_avx512", "simd_avx2", "simd_fold", "simd_portable"),
]
# What a path may use of the processor is said in its source. No sums of products are fused but those written so: a
# text's vector must not depend on how the compiler treats the blocks it happens to be in.
FLAGS = (
    [] if sys.platform == "win32" else ["-std=c99", "-O3", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra"]
)
IS_STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "elasticdenser.kernel._kernel",
            sources=[f"{FOLDER}/{name}.c" for name in SOURCES],
            depends=[f"{FOLDER}/{name}.h" for name in HEADERS],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if IS_STABLE else [],
            extra_compile_args=FLAGS,
            py_limited_api=IS_STABLE,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if IS_STABLE else {},
)
