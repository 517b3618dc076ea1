#!/usr/bin/python3
"""tally.py - the results of each single test, from the report that its runner wrote

usage: tally.py meson|pytest STAGE REPORT
Prints a line per test: pass|fail|skip, stage, name, reason; tabs between. Exit 1: no report.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

TEST_LINE = re.compile(r"(not )?ok\b\s*(\d+)?[\s-]*(.*)")


def one_line(text):
    return " ".join((text or "").split())[:300]


def tap_results(stdout):
    """Yields (result, name, reason) for each TAP line, and a failure where the plan is not met."""
    planned = None
    seen = 0
    for line in stdout.splitlines():
        plan = re.match(r"1\.\.(\d+)\s*(?:#\s*SKIP\b\s*(.*))?", line)
        if plan:
            planned = int(plan.group(1))
            if planned == 0:
                yield "skip", "all", plan.group(2) or "no reason given"
            continue
        if line.startswith("Bail out!"):
            yield "fail", "end", line[9:].strip()
            return
        test = TEST_LINE.match(line)
        if not test:
            continue
        seen += 1
        name, _, directive = test.group(3).partition("#")
        directive = directive.strip()
        if directive.upper().startswith("SKIP"):
            # cmocka writes "not ok 3 # SKIP name": the reason is the name, and that is all it has
            reason = directive[4:].strip()
            yield "skip", name.strip() or reason, reason or "no reason given"
        elif test.group(1):
            yield "fail", name.strip(), directive or "not ok"
        else:
            yield "pass", name.strip(), ""
    if planned is None:
        yield "fail", "plan", "printed no TAP plan"
    elif seen != planned:
        yield "fail", "plan", f"planned {planned} tests, ran {seen}"


def meson(path):
    with open(path, encoding="utf-8") as report:
        for line in report:
            program = json.loads(line)
            title = program["name"].rpartition(" / ")[2]  # without "project:suite / "
            failed = False
            for result, name, reason in tap_results(program.get("stdout") or ""):
                failed |= result == "fail"
                yield result, f"{title}.{name}", reason
            if program["result"] not in ("OK", "SKIP") and not failed:
                status = f"{program['result']}, exit status {program['returncode']}"
                yield "fail", f"{title}.end", status


def pytest(path):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        bad = [c for c in case if c.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad:
            yield "fail", name, bad[0].get("message")
        elif skipped is not None:
            yield "skip", name, skipped.get("message")
        else:
            yield "pass", name, ""


def main():
    kind, stage, path = sys.argv[1:]
    try:
        results = list({"meson": meson, "pytest": pytest}[kind](path))
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
        print(f"tally: {path}: {error}", file=sys.stderr)
        return 1
    for result, name, reason in results:
        print(result, stage, one_line(name), one_line(reason), sep="\t")
    return 0


sys.exit(main())
