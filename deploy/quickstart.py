"""Starts the daemon with the demo model or another one, sends four requests and prints a table; then starts
it again on the same disk cache and sends one more. deploy/quickstart runs it."""

import argparse

import errno
import http.client
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import smollm2

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOST, PORT = "127.0.0.1", 8080
PROMPT_TOKENS = 2000
START_SECONDS = 120
FIRST_QUESTION = "What is prefixd?"
REAL_QUESTION = "What is the capital of Japan?"  # for a model that knows the world
DEMO = ROOT / "deploy/models/demo"


def fail(message):
    sys.exit(f"deploy/quickstart: {message}")


def check_port(model):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            fail(f"port {PORT} of {HOST} is in use, maybe by another prefixd. Stop that process "
                 f"(ss -ltnp 'sport = :{PORT}' names it), or use a free port:\n"
                 f"  {ROOT}/build/release/prefixd serve --model {model} --listen {HOST}:0")


def start_daemon(model, cache):
    """Starts the daemon with a disk cache in the folder. Returns its process when it listens."""
    command = [ROOT / "build/release/prefixd", "serve",
               "--model", model, "--served-model-name", name_of(model),
               "--listen", f"{HOST}:{PORT}", "--log-level", "warning", "--disk-cache-dir", cache,
               "--disk-cache", "256MiB"]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    lines = queue.Queue()

    def read():
        for line in daemon.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
        except queue.Empty:
            stop_daemon(daemon)
            fail(f"the daemon did not start to listen within {START_SECONDS} seconds")
        if line.startswith("listening on "):
            return daemon
        if line == "":
            fail(f"the daemon ended with exit code {daemon.wait()}; its messages are above")


def name_of(model):
    return "demo" if model == DEMO else "smollm2"


def stop_daemon(daemon):
    """Stops the daemon. Returns its exit code."""
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
    return daemon.wait()


def post(path, body):
    """Sends a JSON request. Returns the response before its body is read. Exits if the status is not 200."""
    connection = http.client.HTTPConnection(HOST, PORT, timeout=300)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        fail(f"{path} answered {response.status}: {response.read().decode(errors='replace')}")
    return response


def handbook():
    """Returns a text that makes a prompt of about PROMPT_TOKENS tokens."""
    places = ("kitchen", "garden", "library", "harbour", "station")
    things = ("lamp", "ladder", "clock", "basket", "door")
    rules = []
    tokens = 0
    while tokens < PROMPT_TOKENS - 60:
        for _ in range(5):
            n = len(rules)
            place, thing = places[n % 5], things[n // 5 % 5]
            rules.append(f"Rule {n + 1}: whoever comes to the {place} last looks after the {thing}.")
        tokens = json.load(post("/tokenize", {"prompt": "\n".join(rules)}))["count"]
    return "These are the rules of the house.\n" + "\n".join(rules)


def ask(model, system, question):
    """Sends one streamed chat request. Returns the seconds to the first token, the usage and the text."""
    started = time.monotonic()
    response = post("/v1/chat/completions", {
        "model": name_of(model), "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 32,
        "temperature": 0,
        "messages": [*([{"role": "system", "content": system}] if system else []),
                     {"role": "user", "content": question}]})
    first = usage = None
    text = ""
    for raw in response:
        line = raw.decode().strip()
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line[6:])
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content")
            if piece:
                first = first or time.monotonic()
                text += piece
        usage = chunk.get("usage") or usage
    if usage is None:
        fail("the stream ended without a usage chunk")
    return (first or time.monotonic()) - started, usage, text


def show_row(model, name, system, question):
    """Sends a request and prints a row of the table. Returns the milliseconds to the first token, and how
    many tokens were cached."""
    seconds, usage, _ = ask(model, system, question)
    prompt = usage["prompt_tokens"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    print(f"{name:<28} {seconds * 1000:>9.0f} ms {prompt:>8} {cached:>8} {prompt - cached:>9}", flush=True)
    return seconds * 1000, cached


def show_table(model, system):
    """Returns the milliseconds to the first token of a new prompt."""
    rounds = [("new prompt", FIRST_QUESTION), ("same prompt again", FIRST_QUESTION),
              ("same prefix, new question", "Which port does prefixd use?"),
              ("same prefix, new question", "What is a block?")]
    print(f"\n{'request':<28} {'first token':>12} {'prompt':>8} {'cached':>8} {'computed':>9}")
    return [show_row(model, name, system, question) for name, question in rounds][0][0]


def main():
    parser = argparse.ArgumentParser(prog="deploy/quickstart")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--model", choices=["smollm2"])
    arguments = parser.parse_args()
    model = DEMO
    if arguments.model:
        try:
            model = smollm2.fetch()
        except smollm2.CannotFetch as error:
            fail(f"{error}\nWithout --model smollm2 it serves the demo model, which is in the tree.")
    check_port(model)
    with tempfile.TemporaryDirectory(prefix="prefixd-quickstart-") as folder:
        serve(model, os.path.join(folder, "kv"), arguments.once)


def serve(model, cache, once):
    daemon = start_daemon(model, cache)
    try:
        system = handbook()
        cold = show_table(model, system)
        code = stop_daemon(daemon)
        if code != 0:
            fail(f"the daemon ended with exit code {code}")
        daemon = start_daemon(model, cache)
        warm, cached = show_row(model, "same prompt after a restart", system, FIRST_QUESTION)
        print(f"\nFirst token of the long prompt: {cold:.0f} ms when it was new, {warm:.0f} ms after a "
              "restart, " + ("from the disk cache." if cached else
                             "computed: that was expected to be faster than loading it from the disk cache."))
        question = FIRST_QUESTION
        if model != DEMO:
            question = REAL_QUESTION
            print(f"\n{question}\n  {ask(model, None, question)[2]}")
        url = f"http://{HOST}:{PORT}"
        body = json.dumps({"model": name_of(model), "messages": [{"role": "user", "content": question}]},
                          separators=(",", ":"))
        if once:
            print("\nStopping the daemon. Without --once, deploy/quickstart serves until Ctrl-C.", flush=True)
        else:
            print(f"\nprefixd serves the model {name_of(model)} at {url}/v1. Try:\n"
                  f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
                  f"    -d '{body}'\n", flush=True)
            print("Press Ctrl-C to stop it.", flush=True)
            daemon.wait()
            fail(f"the daemon ended with exit code {daemon.returncode}")
    except KeyboardInterrupt:
        print()
    finally:
        code = stop_daemon(daemon)
    if code != 0:
        fail(f"the daemon ended with exit code {code}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C
    main()
