#!/usr/bin/env python3
"""Says in a few words what a suite's log counts: count.py SUITE LOG."""
import re
import sys

suite, path = sys.argv[1:]
log = open(path, encoding="utf-8", errors="replace").read()
cargo = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed", log)
if cargo:
    print(f"{sum(int(p) for p, _ in cargo)} passed, {sum(int(f) for _, f in cargo)} failed")
elif suite in ("regress", "isolation"):
    ok = len(re.findall(r"(?:^ok \d+|\.\.\. ok\b)", log, re.M))
    bad = len(re.findall(r"(?:^not ok \d+|\.\.\. FAILED\b)", log, re.M))
    print(f"{ok} passed, {bad} failed")
elif suite == "ops":
    print(f"{len(re.findall(r'^ok ', log, re.M))} passed, {len(re.findall(r'^FAILED', log, re.M))} failed")
elif suite == "couch":
    counts = {name: sum(map(int, re.findall(rf"^ℹ {name} (\d+)$", log, re.M))) for name in ("pass", "fail", "skipped")}
    print(f"{counts['pass']} passed, {counts['fail']} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
else:
    counted = [line for line in log.splitlines() if re.match(r"^(vectors|versions|pouchdb|pgspot|docs|demo|torture|apps|fuzz|parsers): ", line)]
    print(counted[-1] if counted else "")
