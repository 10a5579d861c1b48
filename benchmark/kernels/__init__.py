"""Compiled kernels for the CPU, their binding, and their twins in PyTorch."""
