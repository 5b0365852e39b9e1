"""`vllm bench serve` of vLLM, chats and completions, and vllm-rs, which vLLM runs with VLLM_USE_RUST_BENCH=1.

The prompts are random token ids; every request generates exactly OUTPUT tokens, as `--ignore-eos` asks.
"""

import json
import sysconfig

from case import MODEL, NAME, URL, command, equal, report

REQUESTS, INPUT, OUTPUT = 4, 32, 8
RUST = f"{sysconfig.get_path('purelib')}/vllm/vllm-rs"


def run(program, backend, path, name):
    out = f"{name}-{backend}.json"
    command(program, "bench", "serve", "--backend", backend, "--endpoint", path, "--base-url", URL,
            "--model", NAME, "--tokenizer", MODEL, "--dataset-name", "random", "--random-input-len", INPUT,
            "--random-output-len", OUTPUT, "--num-prompts", REQUESTS, "--temperature", 0, "--ignore-eos",
            "--save-result", "--save-detailed", "--result-dir", ".", "--result-filename", out)
    with open(out, encoding="utf-8") as file:
        found = json.load(file)
    equal(f"requests, {out}", [found["completed"], found["failed"]], [REQUESTS, 0])
    equal(f"generated tokens, {out}", found["total_output_tokens"], REQUESTS * OUTPUT)
    equal(f"every text, {out}", [bool(text) for text in found["generated_texts"]], [True] * REQUESTS)
    # The ids are sent as text, and a text need not give the same ids again.
    equal(f"prompt tokens, {out}", found["total_input_tokens"] > REQUESTS * INPUT / 2, True)


for name, program in (("python", "vllm"), ("rust", RUST)):
    run(program, "openai-chat", "/v1/chat/completions", name)
    run(program, "openai", "/v1/completions", name)
report("never: it only streams", f"4 × {REQUESTS} requests, usage")
