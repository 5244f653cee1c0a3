"""Do the tests notice? Small changes of the engine, one at a time: `python -m tests.faults.mutants --seed N`.

The seed draws the changes (`changes.py`). A mutant is run against the tests that execute its lines (`covering.py`), in
a copy of the tree, until one of them fails (`trials.py`). What lives on is printed with its change: a promise without a
test, or a change that changes nothing, which is then named with the reason in `equivalent.toml`.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from tests.faults.changes import ROOMS, Mutant, draw
from tests.faults.covering import WORK, covered
from tests.faults.trials import Trial

EQUIVALENT = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text(encoding="utf-8"))
ENDS = ("killed", "survived", "equivalent")


def is_equivalent(mutant: Mutant) -> bool:
    """Whether `equivalent.toml` says that nobody could notice it."""
    if any(mutant.key == entry["change"] for entry in EQUIVALENT["mutant"]):
        return True
    number = mutant.operator.startswith(("core/NumberReplacer", "core/ReplaceBinaryOperator"))
    names = {name for entry in EQUIVALENT["number"] if entry["file"] == mutant.file for name in entry["names"]}
    return number and any(mutant.diff().startswith(f"-{name} = ") for name in names)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    asked.add_argument("--count", type=int, default=200)
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--only", nargs="+", default=(), help="files or rooms, from engine/: training/ranks.py text")
    options = asked.parse_args()
    found = covered(options.workers)
    free: SimpleQueue[Trial] = SimpleQueue()
    killers: dict[str, list[Mutant]] = defaultdict(list)

    def judge(mutant: Mutant) -> str:
        if is_equivalent(mutant):
            return "equivalent"
        tests = [(test, found.took[test]) for test in found.tests_for(mutant)]
        trial = free.get()
        began = time.monotonic()
        try:
            noticed = trial.notices(mutant, tests) if tests else ""
        finally:
            free.put(trial)
        how = f"({mutant.operator}, {len(tests)} tests, {time.monotonic() - began:.0f} s)"
        where = f"{mutant.file}:{mutant.lines[0]} {how}"
        print(f"\n{where} " + (f"killed by {noticed}" if noticed else f"ALIVE\n{mutant.diff()}"), flush=True)
        if noticed:
            killers[noticed].append(mutant)
        return "killed" if noticed else "survived"

    mutants = list(draw(options.seed, options.count, options.only))
    tally: dict[tuple[str, str], int] = defaultdict(int)
    with ExitStack() as stack, ThreadPoolExecutor(options.workers) as pool:
        for number in range(options.workers):
            free.put(stack.enter_context(Trial(WORK / f"tree-{number}")))
        for done, (mutant, came) in enumerate(zip(mutants, pool.map(judge, mutants), strict=True), 1):
            tally[Path(mutant.file).parts[1], came] += 1
            if done % 20 == 0:
                print(f"{done} of {len(mutants)}", file=sys.stderr, flush=True)
        trial = free.get()
        again = [(test, found.took[test]) for test in killers if test in found.took]
        while again and (failed := trial.run(again)):
            print(f"\n{failed} fails on the program as it is: what it killed may live", flush=True)
            again = [(test, took) for test, took in again if test != failed]
    for room in ROOMS:
        print(f"{room:10} " + ", ".join(f"{came} {tally[room, came]}" for came in ENDS))
    killed, survived, equivalent = (sum(n for (_, what), n in tally.items() if what == came) for came in ENDS)
    share = killed / max(1, killed + survived)
    print(f"seed {options.seed}: {killed} killed, {survived} survived, {equivalent} equivalent: {share:.1%}")
    return 0 if share >= 0.9 else 1


if __name__ == "__main__":
    raise SystemExit(main())
