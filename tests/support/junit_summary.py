"""junit_summary.py RESULT.xml TOTALS: prints the failed and skipped tests of a JUnit file and their numbers,
with the end of what a failed one printed.

It also appends a line "passed failed skipped" with these numbers to the file TOTALS. The exit code is 1 when
a test failed, or when there is no result: a run that did not finish counts as one failure.
"""

import sys
import xml.etree.ElementTree as xml


MOST_LINES = 12  # of a failed test
MOST_TOLD = 20  # failed tests whose lines are printed


def what_failed(case):
    """Returns lines: those in which pytest or GoogleTest says what did not hold, or its last ones."""
    notes = [case.find(kind) for kind in ("failure", "error", "system-out")]
    lines = [line for note in notes if note is not None for line in (note.text or "").splitlines()
             if line.strip()]
    of_pytest = [line for line in lines if line.startswith(("E  ", ">  "))]
    of_googletest = [line for i, line in enumerate(lines)
                     if any(": Failure" in before for before in lines[max(i - 4, 0):i + 1])]
    return (of_pytest or of_googletest or lines)[-MOST_LINES:]


def main(result, totals):
    try:
        cases = list(xml.parse(result).getroot().iter("testcase"))
    except (OSError, xml.ParseError) as error:
        cases = []
        print(f"  no result: {error}")
    passed, failed, skipped = 0, 0, 0
    reasons = {}
    for case in cases:
        name = f"{case.get('classname', '')}.{case.get('name')}" if case.get("classname") != case.get(
            "name") else case.get("name")
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
            print(f"  failed: {name}")
            for line in what_failed(case) if failed <= MOST_TOLD else ():
                print(f"    {line[:200]}")
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
            note = case.find("skipped")
            reasons.setdefault((note.get("message") if note is not None else None) or "", []).append(name)
        else:
            passed += 1
    for reason, names in reasons.items():
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        print(f"  skipped {len(names)}: {shown}" + (f" ({reason})" if reason else ""))
    if not cases:
        failed = 1
    print(f"  {passed} passed, {failed} failed, {skipped} skipped")
    with open(totals, "a", encoding="utf-8") as out:
        out.write(f"{passed} {failed} {skipped}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
