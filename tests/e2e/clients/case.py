"""What `run` tells a script of this folder, and how the script reports. Runs in the client's environment."""

import json
import os
import pathlib
import subprocess
import sys

URL = os.environ["CLIENT_URL"]  # without /v1
MODEL = os.environ["CLIENT_MODEL"]  # the folder
EXPECTED = json.loads(os.environ["CLIENT_EXPECTED"])
NAME, QUESTION, TEXT = EXPECTED["name"], EXPECTED["question"], EXPECTED["text"]
MAX_TOKENS = 40  # as in the request of `run`
PROGRAMS = pathlib.Path(sys.executable).parent


def equal(what, found, wanted):
    """Ends the script with exit code 1 if the two differ."""
    if found != wanted:
        sys.exit(f"{what}: {found!r}; expected {wanted!r}")


def check_usage(what, prompt_tokens, completion_tokens):
    equal(f"usage, {what}", [prompt_tokens, completion_tokens],
          [EXPECTED["prompt_tokens"], EXPECTED["completion_tokens"]])


def command(program, *arguments, **variables):
    """Runs a program of this environment to its end. Returns its standard output, and prints all of it."""
    done = subprocess.run([PROGRAMS / program, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env={**os.environ, **variables})
    print(program, *arguments, done.stdout, done.stderr, sep="\n", flush=True)
    equal(f"exit code of {program}", done.returncode, 0)
    return done.stdout


def report(plain, streamed, remark="", refused=(), parsed="", called=""):
    """Reports the cells of the table. A cell that begins with "never" says why there is no such request.

    `refused` has the statuses other than 200 that the script provoked. `parsed` says how the library was
    asked for a structured output, and `called` how for a call that it forces.
    """
    pathlib.Path(os.environ["CLIENT_REPORT"]).write_text(
        json.dumps({"plain": plain, "streamed": streamed, "remark": remark, "refused": list(refused),
                    "parsed": parsed, "called": called}))
