"""mrhp-bench: the reproducibility benchmark for multimodal review helpfulness prediction."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mrhp-bench")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
