#!/usr/bin/env python3
"""Asks the daemon for answers to random JSON Schemas, and checks them.

  random_schema_answers.py [--schemas 1000] [--seed 11]    the demo model; some minutes

Every schema is asked for at each of TEMPERATURES. An answer that ends with `stop` is parsed and validated by
jsonschema. One that is cut by `length` is the beginning of a valid one: it is completed along its grammar,
and what comes out is validated. A schema with a keyword that is not supported is refused, with the keyword
and its place. The script prints the counts, and exits with 1 if anything was wrong.
"""

import argparse
import collections
import concurrent.futures
import json
import random
import sys

import jsonschema

import grammar_tool
import random_schema
from conformance_server import USER, Server
from daemon import Daemon

TEMPERATURES = [0, 0.7, 1, 2]
Answer = collections.namedtuple("Answer", "schema fields text finish")


def schema_format(schema, strict=False):
    return {"type": "json_schema", "json_schema": {"name": "random", "strict": strict, "schema": schema}}


def ask(server, fields):
    """Returns the status and the JSON of the answer."""
    return server.json("POST", "/v1/chat/completions",
                       {"model": server.model, "messages": USER, "max_tokens": 160, **fields})


def answers(server, schemas, temperatures):
    """The answers to each of the schemas, with the temperatures in turn."""
    asked = [(schema, {"response_format": schema_format(schema), "temperature": temperature, "seed": i})
             for i, schema in enumerate(schemas) for temperature in temperatures(i)]

    def one(request):
        status, answer = ask(server, request[1])
        assert status == 200, (answer, request)
        choice = answer["choices"][0]
        return Answer(*request, choice["message"]["content"], choice["finish_reason"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, asked))


def whole(cut):
    """Completes answers that were cut along their grammars; None for one that is no beginning."""
    # An answer may be cut within a character.
    requests = [{"schema": answer.schema, "strict": False, "texts": [answer.text.rstrip("\ufffd")]}
                for answer in cut]
    return [answer["texts"][0] for answer in grammar_tool.ask(requests)]


def fault_of(schema, text):
    """Returns what is wrong with a whole answer, or None."""
    try:
        jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(json.loads(text))
    except (json.JSONDecodeError, jsonschema.ValidationError, TypeError) as error:
        return f"{error}"
    return None


def faults(all_answers):
    """Returns the number of answers of each finish reason, and the faults."""
    cut = [answer for answer in all_answers if answer.finish == "length"]
    texts = [(answer, answer.text) for answer in all_answers if answer.finish == "stop"]
    texts += zip(cut, whole(cut))
    found = [(answer, fault) for answer, text in texts if (fault := fault_of(answer.schema, text))]
    found += [(answer, "another finish reason") for answer in all_answers
              if answer.finish not in ("stop", "length")]
    return collections.Counter(answer.finish for answer in all_answers), found


def refusal_faults(server, schemas):
    """Returns the schemas whose keyword that is not supported is not named in the answer."""
    found = []
    for schema, keyword, place in schemas:
        status, answer = ask(server, {"response_format": schema_format(schema, strict=True)})
        error = answer.get("error", {})
        if status != 400 or error["code"] != "invalid_json_schema" or \
                f"{place}: '{keyword}' is not supported" not in error["message"]:
            found.append((schema, keyword, place, answer))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--schemas", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    schemas = [random_schema.root(rng) for _ in range(arguments.schemas)]
    refused = [random_schema.unsupported(rng) for _ in range(arguments.schemas)]
    with Daemon("--context", "2048") as daemon:
        server = Server(daemon.url)
        counts, found = faults(answers(server, schemas, lambda i: TEMPERATURES))
        not_named = refusal_faults(server, refused)
    for fault in [*found, *not_named]:
        print(*fault, sep="\n  ")
    print(f"{len(schemas)} schemas, {counts['stop']} answers ended and {counts['length']} were cut, "
          f"{len(found)} with faults; {len(refused)} other schemas were refused, "
          f"{len(not_named)} without naming why")
    return 1 if found or not_named else 0


if __name__ == "__main__":
    sys.exit(main())
