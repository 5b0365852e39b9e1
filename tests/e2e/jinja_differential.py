#!/usr/bin/env python3
"""Checks tests/engine/text/jinja_cases.json against Jinja2 itself, in the environment that transformers gives chat templates.

The file says what each template must render to, or that it must raise; jinja_template_test holds our templates to it, and
this script holds the file to the reference (Jinja2 3.1.6). With --write it fills in what the reference says.
"""

import argparse
import datetime
import json
import pathlib
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

CASES = pathlib.Path(__file__).resolve().parent.parent / "engine" / "text" / "jinja_cases.json"


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment(now):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = now.strftime
    return env


def expected(env, template, context):
    try:
        return {"template": template, "output": env.from_string(template).render(**context)}
    except Exception as error:  # whatever the reference raises, ours must raise too
        return {"template": template, "raises": f"{type(error).__name__}: {error}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what the reference says")
    write = parser.parse_args().write
    file = json.loads(CASES.read_text())
    env = environment(datetime.datetime.fromisoformat(file["now"]))
    said = [expected(env, case["template"], file["context"]) for case in file["cases"]]
    wrong = [(case, ref) for case, ref in zip(file["cases"], said) if case != ref]
    for case, ref in wrong:
        print(f"file: {json.dumps(case)}\nreference: {json.dumps(ref)}", file=sys.stderr)
    if write:
        rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in said)
        head = json.dumps({"now": file["now"], "context": file["context"]}, ensure_ascii=False)[:-1]
        CASES.write_text(f'{head}, "cases": [\n{rows}\n]}}\n')
    print(f"{len(said)} cases, {len(wrong)} differ from Jinja2 {jinja2.__version__}")
    return 1 if wrong and not write else 0


if __name__ == "__main__":
    sys.exit(main())
