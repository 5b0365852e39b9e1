#!/usr/bin/env python3
"""Compares our templates with Jinja2 3.1.6, in the environment that transformers gives chat templates.

  jinja_differential.py                      checks tests/text/jinja/cases.json against Jinja2
  jinja_differential.py --write              writes the results of Jinja2 into that file
  jinja_differential.py --random N --seed S  renders N random conversations with real and random templates,
                                             using build/release/tests/text/render_templates

jinja_differential_test.py runs the first form and a small run of the last.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys

from jinja_generator import Templates, conversation
from jinja_reference import Reference

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CASES = ROOT / "tests/text/jinja/cases.json"
RENDERER = pathlib.Path(os.environ.get("PREFIXD_RENDERER",
                                       ROOT / "build/release/tests/text/render_templates"))
SHARED = pathlib.Path(os.environ.get("PREFIXD_SHARED", ROOT.parent / "shared"))
NOW = "2026-07-01T12:00:00"


def check_cases(write=False):
    """Returns the cases for which the file and the reference differ."""
    file = json.loads(CASES.read_text())
    reference = Reference(file["now"])
    results = [{
        "template": case["template"],
        **reference.render(case["template"], file["context"])
    } for case in file["cases"]]
    if write:
        rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in results)
        head = json.dumps({"now": file["now"], "context": file["context"]}, ensure_ascii=False)[:-1]
        CASES.write_text(f'{head}, "cases": [\n{rows}\n]}}\n')
    return [(case, answer) for case, answer in zip(file["cases"], results) if case != answer]


def chat_templates():
    """Returns the distinct chat templates of the reference data."""
    found = {path.read_text() for path in SHARED.glob("templates/*.jinja")
            } | {path.read_text() for path in SHARED.glob("golden/*/chat_template.jinja")}
    for path in SHARED.glob("golden/*/tokenizer_config.json"):
        template = json.loads(path.read_text()).get("chat_template")
        if isinstance(template, str):
            found.add(template)
    return sorted(found)


def random_requests(count, seed):
    """Returns requests for `count` conversations, each with two chat templates and one random template.

    Four conversations share a random template.
    """
    r = random.Random(seed)
    templates, chats = Templates(r), chat_templates()
    requests = []
    for i in range(count):
        if i % 4 == 0:
            small = templates.template()
        variables = conversation(r)
        chosen = [chats[j % len(chats)] for j in (2 * i, 2 * i + 1)] if chats else []
        requests += [{
            "template": template,
            "variables": variables,
            "now": NOW
        } for template in chosen + [small]]
    return requests


def ours(requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([RENDERER], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def same(answer, expected):
    if "output" in expected:
        # Objects print their address in Python, but not here.
        return answer.get("output") == expected["output"] or re.search("0x[0-9a-f]{8}",
                                                                       expected["output"].lower()) is not None
    raised = expected["raises"].removeprefix("TemplateError: ")
    if raised != expected["raises"]:  # raise_exception: clients see its text
        return answer.get("error") == "invalid_argument: " + raised
    return "output" not in answer


def compare(requests):
    """Returns the number of equal renders, the number of equal errors, and the differing cases.

    A differing case is (request, ours, reference).
    """
    reference = Reference(NOW)
    rendered = raised = 0
    differing = []
    for request, answer in zip(requests, ours(requests)):
        expected = reference.render(request["template"], request["variables"])
        if not same(answer, expected):
            differing.append((request, answer, expected))
        elif "output" in expected:
            rendered += 1
        else:
            raised += 1
    return rendered, raised, differing


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--random", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="differences to print")
    arguments = parser.parse_args()
    if not arguments.random:
        wrong = check_cases(arguments.write)
        for case, answer in wrong:
            print(f"file: {json.dumps(case)}\nreference: {json.dumps(answer)}", file=sys.stderr)
        print(f"{len(wrong)} cases differ from the reference")
        return 1 if wrong and not arguments.write else 0
    rendered, raised, differing = compare(random_requests(arguments.random, arguments.seed))
    for request, answer, expected in differing[:arguments.show]:
        print(json.dumps({**request, "ours": answer, "reference": expected}, ensure_ascii=False))
    print(f"{rendered} rendered alike, {raised} raised on both sides, {len(differing)} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
