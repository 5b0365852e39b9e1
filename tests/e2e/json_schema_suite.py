#!/usr/bin/env python3
"""Compares the grammars of JSON Schemas with the JSON Schema Test Suite.

  json_schema_suite.py [--show] [DRAFT...]

The source package of jsonschema on PyPI carries the suite; it is fetched once, into build/json-schema-suite.
For every case one of these holds:

  agrees     an instance that the suite calls valid is taken, one that it calls invalid is not
  refused    the schema is refused, or has keywords that are ignored and counted; both name the keyword
  by design  the grammar writes less than what is valid, or a `oneOf` more: `reason` says why
  differs    none of these: a fault

An instance is taken when the grammar takes it in some order of its keys, without white space. The script
prints the counts, and with --show the cases that do not agree. It exits with 1 if a case differs.
"""

import argparse
import collections
import importlib.metadata
import itertools
import json
import pathlib
import subprocess
import sys
import tarfile

import grammar_tool

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build/json-schema-suite"
DRAFTS = ["draft4", "draft6", "draft7", "draft2019-09", "draft2020-12"]
MOST_TEXTS = 800
MOST_KEYS = 6

# The type that a keyword is about: a schema without `type` stands for values of these types.
ABOUT = {
    **dict.fromkeys(["properties", "required", "additionalProperties"], (dict, )),
    **dict.fromkeys(["items", "prefixItems", "minItems", "maxItems"], (list, )),
    **dict.fromkeys(["minLength", "maxLength", "pattern", "format"], (str, )),
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
                    (int, float))}
# Cases for which the reason lies deeper than `reason` looks.
KNOWN = {
    ("ref.json", "root pointer ref", "match"): "a schema without a type",
    ("ref.json", "root pointer ref", "recursive match"): "a schema without a type",
    ("ref.json", "ref overrides any sibling keywords", "ref valid, maxItems ignored"):
        "what stands beside $ref counts, as in later drafts",
    ("vocabulary.json", "schema that uses custom metaschema with with no validation vocabulary",
     "no validation: invalid number, but it still validates"): "keywords count whatever $schema says"}

Case = collections.namedtuple("Case", "draft file group test schema data valid")


def fetch():
    """Returns the folder of the suite's drafts."""
    version = importlib.metadata.version("jsonschema")
    tests = FOLDER / f"jsonschema-{version}" / "json" / "tests"
    if not tests.is_dir():
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                        "--no-deps", "--no-binary", "jsonschema", "--dest", FOLDER, f"jsonschema=={version}"],
                       check=True)
        with tarfile.open(FOLDER / f"jsonschema-{version}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return tests


def cases(draft):
    """The cases of a draft, with those of the formats."""
    folder = fetch() / draft
    for path in sorted([*folder.glob("*.json"), *folder.glob("optional/format/*.json")]):
        for group in json.loads(path.read_text()):
            for test in group["tests"]:
                yield Case(draft, str(path.relative_to(folder)), group["description"], test["description"],
                           group["schema"], test["data"], test["valid"])


def texts(value):
    """How the grammar may write a value: compact, with the keys of each object in every order, and a number
    without a fraction as an integer, too."""
    if isinstance(value, dict):
        orders = itertools.permutations(value) if len(value) <= MOST_KEYS else [value]
        all_texts = ("{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{text}"
                                    for key, text in zip(order, members)) + "}" for order in orders
                     for members in itertools.product(*(texts(value[key]) for key in order)))
    elif isinstance(value, list):
        all_texts = ("[" + ",".join(items) + "]" for items in itertools.product(*map(texts, value)))
    elif isinstance(value, float) and value.is_integer():
        all_texts = [json.dumps(value), str(int(value))]
    else:
        all_texts = [json.dumps(value, ensure_ascii=False)]
    return list(itertools.islice(all_texts, MOST_TEXTS))




def is_text(value):
    try:
        return bool(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def reason(case):
    """Why the grammar differs from the suite by design; None: it should not."""
    if not case.valid:
        return "oneOf is read as anyOf" if "oneOf" in case.schema else None
    if "format" in case.file and isinstance(case.data, str):
        return "formats restrict the answer, to less than their standards allow"
    schema = case.schema if isinstance(case.schema, dict) else {}
    types = [one for keyword in schema for one in ABOUT.get(keyword, ())]
    fits = isinstance(case.data, tuple(types)) and not isinstance(case.data, bool)
    if "type" not in schema and types and not fits:
        return "a schema without a type"
    return KNOWN.get((case.file, case.group, case.test))


def outcome(case, answer, asked):
    """Returns what holds for a case, and why. `asked` are the texts of all cases that the answer is for."""
    if "error" in answer:
        return "refused", answer["error"]
    if answer["ignored"]:
        return "refused", ", ".join(answer["ignored"])
    taken = {text for text, completed in zip(asked, answer["texts"]) if text == completed}
    is_taken = not taken.isdisjoint(texts(case.data))
    if is_taken == case.valid:
        return "agrees", ""
    why = reason(case)
    return ("by design", why) if why else ("differs", "")


def compare(drafts):
    """Yields each case of the drafts with its outcome."""
    all_cases = (case for draft in drafts for case in cases(draft) if is_text([case.schema, case.data]))
    groups = [list(group) for _, group in itertools.groupby(all_cases, lambda case: case[:3])]
    asked = [[text for case in group for text in texts(case.data)] for group in groups]
    answers = grammar_tool.ask({"schema": group[0].schema, "strict": False, "texts": group_texts}
                               for group, group_texts in zip(groups, asked))
    for group, answer, group_texts in zip(groups, answers, asked):
        for case in group:
            yield case, *outcome(case, answer, group_texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("drafts", metavar="DRAFT", nargs="*", help=", ".join(DRAFTS))
    arguments = parser.parse_args()
    counts = collections.Counter()
    for case, what, why in compare(arguments.drafts or DRAFTS):
        counts[case.draft, what] += 1
        if what == "differs" or (arguments.show and what != "agrees"):
            print(f"{what} ({why}): {case.draft}/{case.file}: {case.group}: {case.test}\n"
                  f"    {json.dumps(case.schema)}\n    {json.dumps(case.data)}")
    kinds = ["agrees", "refused", "by design", "differs"]
    print("| draft | cases |", " | ".join(kinds), "|\n|---|---|" + "---|" * len(kinds))
    for draft in dict.fromkeys(draft for draft, _ in counts):
        numbers = [counts[draft, what] for what in kinds]
        print(f"| {draft} | {sum(numbers)} |", " | ".join(map(str, numbers)), "|")
    return 1 if any(what == "differs" for _, what in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
