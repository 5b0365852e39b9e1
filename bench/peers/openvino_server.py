"""An OpenAI-style server in front of OpenVINO GenAI's continuous batching, which has none for requests that
run at once. Only what serve_bench asks for: greedy chats, streamed.

    openvino_server.py MODEL PORT [--slots 8] [--cache GiB] [--threads N]

It runs in the environment of bench/peers' OpenVINO. MODEL is a GGUF file. One thread owns the pipeline: it
takes new requests between steps and hands each request its tokens through a queue. The pipeline does not say
how many tokens came from its cache.
"""

import argparse
import http.server
import json
import os
import queue
import threading
import traceback

import openvino_genai


class Engine:
    """The pipeline and the thread that runs it. ask() may be called from any thread."""

    def __init__(self, options):
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = options.cache
        scheduler.max_num_seqs = options.slots
        scheduler.enable_prefix_caching = True
        scheduler.dynamic_split_fuse = True
        self.pipeline = openvino_genai.ContinuousBatchingPipeline(
            options.model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": options.threads})
        self.tokenizer = self.pipeline.get_tokenizer()
        self.arrived = queue.SimpleQueue()
        threading.Thread(target=self.run_or_exit, daemon=True).start()

    def ask(self, messages, tokens):
        """Returns the number of prompt tokens, and the queue of the lists of new tokens, None at the end."""
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        prompt = self.tokenizer.encode(text, add_special_tokens=False).input_ids
        settings = openvino_genai.GenerationConfig()
        settings.do_sample = False
        settings.ignore_eos = True
        settings.max_new_tokens = tokens
        answer = queue.SimpleQueue()
        self.arrived.put((prompt, settings, answer))
        return prompt.shape[1], answer

    def run_or_exit(self):
        try:
            self.run()
        except Exception:  # of the pipeline, which may throw anything
            traceback.print_exc()
            os._exit(1)  # without the thread no request would ever end

    def run(self):
        running, number = {}, 0
        while True:
            while not running or not self.arrived.empty():
                prompt, settings, answer = self.arrived.get()
                running[number] = (self.pipeline.add_request(number, prompt, settings), answer)
                number += 1
            self.pipeline.step()
            for key, (handle, answer) in list(running.items()):
                while handle.can_read():
                    for output in handle.read().values():
                        answer.put(list(output.generated_ids))
                if handle.get_status() != openvino_genai.GenerationStatus.RUNNING:
                    answer.put(None)
                    del running[key]


class Handler(http.server.BaseHTTPRequestHandler):
    engine = None  # set by main()

    def log_message(self, *_):
        pass

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"object": "list", "data": [{"id": "model", "object": "model"}]})

    def event(self, document):
        self.wfile.write(b"data: " + json.dumps({"object": "chat.completion.chunk", **document}).encode() +
                         b"\n\n")
        self.wfile.flush()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or not request.get("stream"):
            self.send_error(400, "only streamed chats are served")
            return
        prompt, answer = self.engine.ask(request["messages"], request["max_tokens"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        tokens, sent = [], 0
        while (new := answer.get()) is not None:
            tokens += new
            text = self.engine.tokenizer.decode(tokens, skip_special_tokens=False)
            if len(text) > sent and not text.endswith("\ufffd"):  # a character may need several tokens
                self.event({"choices": [{"index": 0, "delta": {"content": text[sent:]}}]})
                sent = len(text)
        self.event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": len(tokens),
                                             "total_tokens": prompt + len(tokens)}})
        self.wfile.write(b"data: [DONE]\n\n")


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--cache", type=int, default=4)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    Handler.engine = Engine(options)
    HttpServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
