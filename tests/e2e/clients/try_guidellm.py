"""guidellm, three chats with the same question, plain and streamed. Its report has the text and the usage."""

import json

from case import MAX_TOKENS, MODEL, NAME, QUESTION, TEXT, URL, check_usage, command, equal, report

REQUESTS = 3
with open("questions.jsonl", "w", encoding="utf-8") as file:
    for _ in range(REQUESTS):
        file.write(json.dumps({"prompt": QUESTION}) + "\n")


def run(stream):
    out = f"report-{stream}.json"
    backend = {"kind": "openai_http", "target": URL, "model": NAME, "stream": stream,
               "max_tokens": MAX_TOKENS, "extras": {"body": {"temperature": 0}}}
    command("guidellm", "run", "--backend", json.dumps(backend), "--profile", "kind=synchronous",
            "--constraint", f"kind=max_requests,count={REQUESTS}", "--tokenizer",
            f"kind=hf_auto,model={MODEL}", "--data", "kind=json_file,path=questions.jsonl",
            "--output", f"kind=json,path={out}", "--disable-progress")
    with open(out, encoding="utf-8") as file:
        found = json.load(file)["benchmarks"][0]
    equal("requests", found["metrics"]["request_totals"],
          {"successful": REQUESTS, "errored": 0, "incomplete": 0, "total": REQUESTS})
    for each in found["requests"]["successful"]:
        equal("text", each["output"], TEXT)
        check_usage("of a request", each["input_metrics"]["text_tokens"],
                    each["output_metrics"]["text_tokens"])
    return f"{REQUESTS} requests, text, usage"


report(run(False), run(True))
