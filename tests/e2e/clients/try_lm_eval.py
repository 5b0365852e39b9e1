"""lm-eval: a multiple choice by log likelihoods and a task of generated text, made from tasks/.

Both come from one small file, so that no data set is fetched; the tokenizer is that of the model's folder.
The log likelihoods that lm-eval reports are compared with those of a request with the whole text as echo.
"""

import json
import math
import pathlib
import urllib.request

from case import MODEL, NAME, QUESTION, TEXT, URL, command, equal, report

SOURCE = pathlib.Path(__file__).resolve().parent / "tasks"
TASKS = pathlib.Path("tasks").resolve()
TASKS.mkdir()
for file in SOURCE.glob("*.yaml"):
    (TASKS / file.name).write_text(file.read_text().replace("QUESTIONS", str(SOURCE / "questions.jsonl")))
QUESTIONS = [json.loads(line) for line in (SOURCE / "questions.jsonl").read_text().splitlines()]


def evaluate(kind, tasks, options, *more):
    """Returns the samples of each task, as lm-eval writes them."""
    out = pathlib.Path(f"out-{kind}").resolve()
    command("lm_eval", "--model", kind, "--model_args", ",".join(f"{k}={v}" for k, v in options.items()),
            "--tasks", ",".join(tasks), "--include_path", TASKS, "--output_path", out, "--log_samples", *more)
    samples = {}
    for task in tasks:
        lines = next(out.rglob(f"samples_{task}_*.jsonl")).read_text().splitlines()
        samples[task] = [json.loads(line) for line in lines]
        equal(f"samples of {task}, {kind}", len(samples[task]), len(QUESTIONS))
    return samples


def complete(prompt, **fields):
    body = {"model": NAME, "prompt": prompt, "temperature": 0, "add_special_tokens": False, **fields}
    request = urllib.request.Request(f"{URL}/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]


def log_likelihood(context, text):
    """Asks for it as text: the sum of the log probabilities of the tokens that begin behind the context."""
    found = complete(context + text, echo=True, logprobs=1, max_tokens=0)["logprobs"]
    return sum(value for value, offset in zip(found["token_logprobs"], found["text_offset"])
               if offset >= len(context))


both = evaluate("local-completions", ["prefixd_choose", "prefixd_say"],
                {"model": NAME, "base_url": f"{URL}/v1/completions", "tokenizer": MODEL,
                 "tokenizer_backend": "huggingface"}, "--batch_size", 2)
for sample, question in zip(both["prefixd_choose"], QUESTIONS):
    context = f"Question: {question['question']}\nAnswer:"
    for choice, [[found, _]] in zip(question["choices"], sample["resps"]):
        wanted = log_likelihood(context, " " + choice)
        equal(f"log likelihood of {choice!r}: {found}, {wanted}",
              math.isclose(float(found), wanted, rel_tol=1e-6), True)
for sample, question in zip(both["prefixd_say"], QUESTIONS):
    wanted = complete(question["question"], max_tokens=40)["text"]
    equal("text of the completion", sample["resps"][0][0], wanted)

chats = evaluate("local-chat-completions", ["prefixd_say"],
                 {"model": NAME, "base_url": f"{URL}/v1/chat/completions", "num_concurrent": 3},
                 "--apply_chat_template")["prefixd_say"]
equal("the question", chats[0]["doc"]["question"], QUESTION)
equal("text of the chat", chats[0]["resps"][0][0], TEXT)
report(f"{2 * len(QUESTIONS)} log likelihoods, {2 * len(QUESTIONS)} texts", "never: it has no such mode")
