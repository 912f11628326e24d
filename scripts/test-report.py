#!/usr/bin/env python3
"""Reads what the passes of scripts/test.sh left in a directory.

Usage: scripts/test-report.py RESULTS
       scripts/test-report.py --all-ran RESULTS LIST

The first form prints how long each step took, the ten slowest tests, and how many were skipped. The second fails when there
is a test that ran in no pass, unless LIST names it, or when LIST names one that did run or does not exist.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def tests_of(results):
    """Yields pass, test and seconds of all that ran."""
    for file in sorted(results.glob("*.xml")):
        for case in ElementTree.parse(file).iter("testcase"):
            yield file.stem, case.get("name"), float(case.get("time"))


def skipped_in(results):
    """Returns the reasons by pass and test."""
    skipped = {}
    for file in sorted(results.glob("*.skipped")):
        for line in file.read_text().splitlines():
            test, reason = line.split("\t", 1)
            skipped.setdefault((file.stem, test), reason)
    return skipped


def report(results):
    steps = results / "steps"
    if steps.exists():
        total = 0.0
        print("\nminutes  step")
        for line in steps.read_text().splitlines():
            name, began, ended = line.split("\t")
            total += float(ended) - float(began)
            print(f"{(float(ended) - float(began)) / 60:7.1f}  {name}")
        print(f"{total / 60:7.1f}  in all")
    ran = list(tests_of(results))
    if ran:
        print("\nseconds  the ten slowest tests")
        for pass_, test, seconds in sorted(ran, key=lambda one: -one[2])[:10]:
            print(f"{seconds:7.1f}  {test} ({pass_})")
    skipped = skipped_in(results)
    print("\n    ran  skipped  pass")
    for pass_, count in Counter(pass_ for pass_, _, _ in ran).items():
        missed = sum(1 for at in skipped if at[0] == pass_)
        print(f"{count - missed:7}  {missed:7}  {pass_}")


def all_ran(results, listed):
    known = {}
    for line in listed.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test, _, reason = line.partition(" ")
            if not reason:
                sys.exit(f"test-report.py: {listed} gives no reason for {test}")
            known[test] = reason
    nextest = ["cargo", "nextest", "list", "--locked", "--workspace", "--message-format", "json"]
    suites = json.loads(subprocess.run(nextest, check=True, stdout=subprocess.PIPE).stdout)["rust-suites"]
    every = {test for suite in suites.values() for test in suite["testcases"]}
    skipped = skipped_in(results)
    ran = {test for pass_, test, _ in tests_of(results) if (pass_, test) not in skipped}
    reasons = {test: reason for (_, test), reason in skipped.items()}
    wrong = [f"{test} ran in no pass: {reasons.get(test, 'left out')}" for test in sorted(every - ran - known.keys())]
    wrong += [f"{test} ran, so {listed} need not name it" for test in sorted(known.keys() & ran)]
    wrong += [f"{test}, which {listed} names, does not exist" for test in sorted(known.keys() - every)]
    for test in sorted(known.keys() & every - ran):
        print(f"not run, as {listed} says: {test}: {known[test]}")
    print(f"{len(every & ran)} of {len(every)} tests ran in some pass")
    if wrong:
        sys.exit("\n".join(f"test-report.py: {line}" for line in wrong))


match sys.argv[1:]:
    case ["--all-ran", results, listed]:
        all_ran(Path(results), Path(listed))
    case [results] if not results.startswith("-"):
        report(Path(results))
    case ["-h" | "--help"]:
        print(__doc__.strip())
    case _:
        sys.exit(__doc__.strip())
