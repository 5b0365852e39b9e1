"""Tests sampled conversations and loops of calls with every model of ../shared/golden, so with each of its
tokenizers: with reuse of ids each turn finds all up to the last user message, and without it the explanation
names each divergence. The models have random weights: their answers are odd tokens, and parts of code points.
"""

import json
import os
import pathlib

import pytest

from daemon import ROOT, Daemon
from explain_test import BLOCK, NOTE, TURNS, cached, explain, loop, talk
from tool_loop_test import HERMES

SHARED = pathlib.Path(os.environ.get("PREFIXD_SHARED", ROOT.parent / "shared"))
FOLDERS = sorted(path.parent for path in SHARED.glob("golden/*/config.json"))
# What the tokenizers have for the begin and the end of a message.
MARKS = [("<|im_start|>", "<|im_end|>"), ("<|start_header_id|>", "<|eot_id|>"), ("<s>", "</s>")]
pytestmark = pytest.mark.skipif(not FOLDERS, reason=f"{SHARED / 'golden'} is absent")


def with_long_context(model, folder):
    """Twenty turns do not fit into the context of these models."""
    for file in model.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    return folder


def never(model):
    """Control tokens that end no answer. Clients do not see them, and so cannot send them back."""
    ends = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    tokens = json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    return {str(token["id"]): -100 for token in tokens if token["special"] and token["id"] not in ends}


class Model:
    def __init__(self, folder, daemon):
        self.daemon, self.never = daemon, never(folder)

    def talk(self, **fields):
        return self._with_ids(talk(self.daemon, return_token_ids=True, logit_bias=self.never, **fields))

    def loop(self, **fields):
        return self._with_ids(loop(self.daemon, NOTE, return_token_ids=True, **fields))

    @staticmethod
    def _with_ids(turns):
        """Yields the number of a turn, its answer, the ids of its prompt, those of the prompt before, and
        those of them and their answer that have KV: not the last one."""
        prompt, said = None, None
        for turn, (answer, _) in enumerate(turns, start=1):
            ids = answer["prompt_token_ids"]
            if prompt is not None:
                yield turn, answer, ids, prompt, said
            prompt, said = ids, ids + answer["choices"][0]["token_ids"][:-1]

    def post(self, path, body):
        status, _, text = self.daemon.request("POST", path, body)
        assert status == 200, text
        return json.loads(text)

    def text(self, ids):
        return self.post("/detokenize", {"tokens": ids})["prompt"]

    def end_of_call(self):
        """How many tokens the grammar leaves no choice about at the end of a call: no KV of them is computed
        before the next turn."""
        end = {"prompt": '"}}\n</tool_call>', "add_special_tokens": False}
        return len(self.post("/tokenize", end)["tokens"])

    def what_differs(self, ids, said):
        """The text, or the ids alone: the text goes on as before, to its end or for a while."""
        begun, text = self.text(said).rstrip("\uFFFD"), self.text(ids)
        same = len(os.path.commonprefix([begun, text]))
        common = len(os.path.commonprefix([said, ids]))
        far = len(self.text(ids[:common + 1])) + 64
        return "tokenization" if same == len(begun) or same > far else "template"

    def check_place(self, told, ids, prompt, said):
        """The character of the answer in which the ids part. They may have a part of it in common."""
        common = next(i for i, (a, b) in enumerate(zip(said, ids)) if a != b)
        shared = self.text(said[:common])
        before = len(self.text(prompt))
        least, most = len(shared.rstrip("\uFFFD")) - before, len(shared) - before
        assert max(least, 0) <= told["comparison"]["character"] <= max(most, 0), (least, most, told)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def model(request, tmp_path_factory):
    begin, end = next(marks for marks in MARKS if marks[0] in (request.param / "tokenizer.json").read_text())
    folder = tmp_path_factory.mktemp(request.param.name)
    file = folder / "hermes.jinja"
    file.write_text(HERMES.replace("<|im_start|>", begin).replace("<|im_end|>", end))
    with Daemon("--chat-template", file, "--block-tokens", BLOCK,
                model=with_long_context(request.param, folder)) as daemon:
        yield Model(request.param, daemon)


def check_found(model, turns, forced=0):
    """Returns how many turns found all but the last `forced` tokens of the answer before."""
    found = 0
    for turn, answer, ids, _, said in turns:
        assert ids[:len(said)] == said, (turn, explain(model.daemon, answer)["explanation"])
        assert cached(answer) >= (len(said) - forced) // BLOCK * BLOCK, turn
        assert explain(model.daemon, answer)["comparison"]["change"] == "none"
        found += 1
    return found


def check_explained(model, turns, forced=0):
    """Returns how many turns have found all but the last `forced` tokens, how many have diverged, and of how
    many of these a character was told and is right."""
    found, diverged, placed = 0, 0, 0
    for turn, answer, ids, prompt, said in turns:
        if ids[:len(said)] == said:
            found += check_found(model, [(turn, answer, ids, prompt, said)], forced)
            continue
        diverged += 1
        told = explain(model.daemon, answer)
        comparison = told["comparison"]
        assert comparison["change"] == "tokenization", told
        assert (comparison["message"], comparison["in_answer"]) == (2 * turn - 1, True), told
        assert told["first_miss"]["reason"] in ("template_diverged", "block_tail"), told
        if comparison["character"] is not None:
            placed += 1
            model.check_place(told, ids, prompt, said)
    return found, diverged, placed


def test_with_reuse_each_turn_reaches_the_last_user_message(model):
    turns = model.talk(cache_salt="reuse", reuse_generated_ids=True)
    assert check_found(model, turns) == TURNS - 2


def test_without_reuse_the_explanation_names_each_divergence(model):
    found, diverged, placed = check_explained(model, model.talk(cache_salt="plain"))
    assert placed > diverged / 2 and diverged > TURNS // 2 and found + diverged == TURNS - 2


def test_with_reuse_a_loop_of_calls_reaches_the_last_result(model):
    turns = model.loop(cache_salt="reuse loop", reuse_generated_ids=True)
    assert check_found(model, turns, model.end_of_call()) == 8


def test_without_reuse_a_loop_of_calls_reaches_the_last_result_or_is_explained(model):
    """The grammar of a forced call leads to the ids that its text encodes to, so that most turns find all."""
    found, diverged, _ = check_explained(model, model.loop(cache_salt="plain loop"), model.end_of_call())
    assert found >= 6 and found + diverged == 8


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_template_of_the_model_is_named_where_it_writes_otherwise(folder, tmp_path):
    """Some trim answers, or write a space before them."""
    with Daemon("--block-tokens", BLOCK, model=with_long_context(folder, tmp_path)) as daemon:
        model, diverged = Model(folder, daemon), 0
        for turn, answer, ids, _, said in model.talk():
            comparison = explain(daemon, answer)["comparison"]
            if ids[:len(said)] == said:
                assert comparison["change"] == "none", comparison
                continue
            diverged += 1
            assert comparison["change"] == model.what_differs(ids, said), comparison
            assert (comparison["message"], comparison["in_answer"]) == (2 * turn - 1, True), comparison
        assert diverged > TURNS // 2
