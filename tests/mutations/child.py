"""`python -m tests.mutations.child TREE TEST`: pytest in a copied tree, and nothing of ours but that tree."""

from __future__ import annotations

import os
import sys

import pytest


def main() -> int:
    tree, test = sys.argv[1:]
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("tests", "benchmark", "baselines", "mmss")
    ]:
        del sys.modules[name]
    os.chdir(tree)
    sys.path[:] = [tree, *(entry for entry in sys.path if entry and os.path.abspath(entry) != os.getcwd())]
    sys.dont_write_bytecode = True  # the next fault may change a file within the clock's resolution
    os.environ["PYTHONPATH"] = tree
    return int(
        pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=line", test]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
