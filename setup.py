"""The one thing that pyproject.toml cannot say: compiled kernels that know which source they were built from.

They are built if there is a C++ compiler with OpenMP; if not, PyTorch computes the same, slower.
"""

import hashlib
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "benchmark/kernels/_kernels.cpp"
FLAGS = [
    "-O3",
    "-std=c++17",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-Wno-psabi",
]

digest = hashlib.sha256((Path(__file__).parent / SOURCE).read_bytes()).hexdigest()
kernels = Extension(
    "benchmark.kernels._kernels",
    [SOURCE],
    define_macros=[("SOURCE_SHA256", f'"{digest}"')],
    extra_compile_args=FLAGS,
    extra_link_args=["-fopenmp"],
    optional=True,
)
setup(ext_modules=[kernels])
