"""Some hundred bad inputs through the command line: each ends with a message and a documented code.

`python -m tests.faults.bad_input [WORD]`: all (or those with WORD in their name), in a temporary folder; prints
what failed and the counts. The suite tries a part of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import bad_commands, bad_data, bad_imports, bad_more, bad_options, bad_results
from tests.faults.cases import Case, judge


def all_cases() -> list[Case]:
    modules = (bad_data, bad_results, bad_options, bad_more, bad_commands, bad_imports)
    return [case for module in modules for case in module.all_cases()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--verbose", action="store_true", help="print what each input makes bench say")
    chosen = parser.parse_args()
    tried: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(all_cases()):
            if chosen.word not in str(case):
                continue
            verdict = judge(case, Path(folder) / str(number))
            tried[case.kind] += 1
            codes[str(verdict.code)] += 1
            if verdict.fault or chosen.verbose:
                print(
                    f"{'FAILED ' if verdict.fault else ''}{case}: {verdict.fault or verdict.code}", flush=True
                )
                print("    " + verdict.output[-700:].replace("\n", "\n    "), flush=True)
            failed += bool(verdict.fault)
    print(f"{tried.total()} inputs, {failed} not as they should be")
    print("by kind:", dict(tried))
    print("by exit code:", dict(sorted(codes.items())))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
