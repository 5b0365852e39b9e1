"""The grammars of JSON Schemas, without a server: build/release/tests/support/grammar_tool."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOL = pathlib.Path(os.environ.get("GRAMMAR_TOOL", ROOT / "build/release/tests/support/grammar_tool"))


def ask(requests):
    """Returns the answer to each {"schema": .., "strict": .., "texts": [..]}; the source of the tool has its
    form."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([TOOL], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
