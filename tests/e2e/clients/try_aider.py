"""aider, in the mode `ask`, which edits nothing. The demo model cannot edit code."""

import json
import pathlib
import re

from case import NAME, QUESTION, URL, command, equal, report

METADATA = pathlib.Path("metadata.json").resolve()
METADATA.write_text(json.dumps({f"openai/{NAME}": {
    "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 3584, "max_output_tokens": 512,
    "max_tokens": 512, "input_cost_per_token": 0, "output_cost_per_token": 0}}))
OPTIONS = ["--model", f"openai/{NAME}", "--openai-api-base", f"{URL}/v1", "--openai-api-key", "any",
           "--model-metadata-file", METADATA, "--chat-mode", "ask", "--no-git", "--no-pretty", "--yes-always",
           "--map-tokens", 0, "--no-check-update", "--no-show-release-notes", "--no-show-model-warnings",
           "--analytics-disable", "--no-detect-urls", "--message", QUESTION]


def ask(option):
    shown = command("aider", *OPTIONS, option)
    found = re.search(r"Repo-map: disabled\n+(.+?)\n+Tokens: ([\d.k]+) sent, (\d+) received", shown, re.S)
    equal(f"an answer with its tokens, {option}", bool(found), True)
    return found


plain, streamed = ask("--no-stream"), ask("--stream")
equal("the text of the stream", streamed[1], plain[1])
# Of a plain answer it shows our usage: more than its own estimate, as the special tokens count.
equal("tokens received", int(plain[3]) > 1 and int(streamed[3]) > 1, True)
report("text, usage", "text", "it estimates the tokens of streams itself")
