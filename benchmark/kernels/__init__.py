"""What the methods compute that a chain of library calls computes slowly: sums over arrays that need never exist.

Notes for maintainers. One module a subject (`graphs`, `pooling`, `attention`, ...), and in it, side by side:

* the public function, which takes the compiled code where `native.usable` says that it may (float32, on a CPU,
  no autocast, built and not switched off) and PyTorch everywhere else: callers never ask which;
* the binding: a `torch.autograd.Function` that calls `native.call("name", ...)`, a function of `_kernels.cpp`;
* the twin: the same in PyTorch, which the compiled code must agree with to rounding (`tests/kernels`), and
  which runs on GPUs, in half precisions and wherever nothing was compiled.

A function of `_kernels.cpp` takes raw memory: `native.call` checks that tensors are contiguous float32, and
nothing else does. Its arguments stand in `native.SIGNATURES`, pointers first, then sizes, then torch's number of
threads. A result must not depend on that number: one thread takes each sum, in a fixed order.

The library knows the hash of the source that it was built from (`compiled`), so that one left over from another
version is not loaded; after a change of `_kernels.cpp`, `pip install -e .` builds it anew. Its bits enter what runs
give: see NUMERICS_VERSION in `benchmark/runs/spec.py`. `MRHP_BENCH_KERNELS=0` switches it off.
"""
