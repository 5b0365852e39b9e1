"""Models with a file that is damaged, or does not fit the others. See broken_folders.py."""

from folder_damage import (both, config, config_folder, edit, family, header, larger_vocabulary, link, longer,
                           mode, pipe, remove, rename, renamed, replace, shards, shorter, typed, write)

HTML = b"<!DOCTYPE html>\n<html><body>404</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3287608\n"

# name: (what the folder is, the damage, the exit code, the words that the message must contain)
CASES = {
    # --- config.json as a file
    "config_link":
        ("config.json is a broken link", link("config.json", "../blobs/abc"), 3,
         ["config.json is a link to ../blobs/abc, which does not exist", "download the folder again"]),
    "config_folder": ("a folder named config.json", config_folder, 3,
                      ["config.json is a folder, not a file; remove it, then download"]),
    "config_pipe": ("a named pipe config.json", pipe, 3,
                    ["config.json is not a regular file; remove it, then download"]),
    "hostile_name": ("escapes of a terminal in the name of a tensor",
                     renamed("model.norm.weight", "\x1b[2Jhello\n"), 3,
                     ["'\\u001b[2Jhello\\u000a'", "a version of this model in the layout of transformers"]),
    "template_pointer": ("a git-lfs pointer in place of chat_template.jinja",
                         write("chat_template.jinja", POINTER), 3, ["chat_template.jinja",
                                                                    "git-lfs pointer"]),
    "template_utf16": ("a template in UTF-16", write("chat_template.jinja",
                                                     "{{ messages }}".encode("utf-16")), 3,
                       ["MODEL: chat_template.jinja is not UTF-8", "--chat-template FILE"]),
    "config_empty": ("config.json of zero bytes", write("config.json", b""), 3,
                     ["config.json is not valid JSON at line 1, column 1: it is empty"]),
    "config_utf16": ("config.json in UTF-16", lambda folder: (folder / "config.json").write_text(
        (folder / "config.json").read_text(), encoding="utf-16"), 3,
                     ["config.json", "column 1: it is UTF-16; save it as UTF-8"]),
    "config_bom": ("config.json with a byte order mark", lambda folder: (folder / "config.json").write_text(
        (folder / "config.json").read_text(), encoding="utf-8-sig"), 3,
                   ["config.json", "column 1: it begins with a byte order mark; save it without one"]),
    "config_comma": ("a comma too many in config.json",
                     replace("config.json", b'"rms_norm_eps": 1e-05', b'"rms_norm_eps": 1e-05,'), 3,
                     ["config.json", "line 28, column 1, before '}'", "the comma before it is one too many"]),
    "config_comment": ("a comment in config.json",
                       replace("config.json", b'"rope_theta"', b'// raised\n  "rope_theta"'), 3,
                       ["config.json", "line 26, column 3, before '// raised'", "no comments; remove it"]),
    "config_nan": ("NaN in config.json", replace("config.json", b"500000.0", b"NaN"), 3,
                   ["config.json", "line 26, column 17, before 'NaN,'", "no NaN"]),
    "config_quotes": ("single quotes in config.json", replace("config.json", b'"silu"', b"'silu'"), 3,
                      ["config.json", "line 9, column 17, before \"'silu',\":", "double quotes"]),
    "config_cut": ("config.json is cut", shorter("config.json", 60), 3,
                   ["config.json", "line 25, column 28: it ends too early", "download it again"]),
    "config_html": ("an error page in place of config.json", write("config.json", HTML), 3,
                    ["config.json", "HTML or XML, perhaps an error page", "download it again"]),
    "config_pointer": ("a git-lfs pointer in place of config.json", write("config.json", POINTER), 3,
                       ["config.json", "git-lfs pointer", "git lfs pull --include config.json"]),
    "config_latin1": ("config.json in Latin-1", replace("config.json", b'"silu"', b'"sil\xfc"'), 3,
                      ["config.json", "line 9, column 21", "not UTF-8; save it as UTF-8"]),
    "config_list": ("config.json is a list", write("config.json", []), 3,
                    ["config.json", "must be a JSON object, not an array"]),
    "config_mode": ("config.json without the right to read it", mode("config.json", 0), 3,
                    ["MODEL/config.json: Permission denied", "the right to read it (chmod)"]),
    # --- values of config.json
    "null_layers": ("null layers", config(num_hidden_layers=None), 3,
                    ["num_hidden_layers is null (expected: an integer from 1 to 1024)"]),
    "text_size": ("a size in quotes", config(hidden_size="128"), 3,
                  ["hidden_size is \"128\" (expected: an integer from 1 to 65536)"]),
    "fraction": ("half a head", config(num_attention_heads=4.5), 3,
                 ["num_attention_heads is 4.5 (expected: an integer"]),
    "whole_double":
        ("a size written 128.0", config(hidden_size=128.0), 3,
         ["hidden_size is 128.0 (expected: an integer from 1 to 65536, without a decimal point)"]),
    "kv_heads": ("heads that do not divide", config(num_key_value_heads=3), 3,
                 ["num_key_value_heads is 3 (expected: a divisor of num_attention_heads 4)"]),
    "odd_head": ("an odd head_dim", config(head_dim=31), 3, ["head_dim is 31 (expected: an even number"]),
    "huge": ("10^12 layers", config(num_hidden_layers=10**12), 3,
             ["num_hidden_layers is 1000000000000 (expected: an integer from 1 to 1024)"]),
    "activation": ("an unknown activation", config(hidden_act="xielu"), 3,
                   ["hidden_act is \"xielu\"", "supported: silu"]),
    "rope_unknown": ("an unknown rope type", config(rope_scaling={
        "rope_type": "longrope",
        "factor": 4
    }), 3, ["rope_scaling.rope_type is \"longrope\"", "supported: default, linear, dynamic, llama3, yarn"]),
    "rope_factor": ("a rope factor in quotes", config(rope_scaling={
        "rope_type": "linear",
        "factor": "2"
    }), 3, ["rope_scaling.factor is \"2\" (expected: a number from 1 to 1000000)"]),
    "rope_no_factor": ("a rope without its factor", config(rope_scaling={"type": "yarn"}), 3,
                       ["rope_scaling.factor is missing (expected: a number"]),
    "rope_two":
        ("two ropes that differ",
         config(rope_scaling={
             "type": "linear",
             "factor": 2.0
         },
                rope_parameters={
                    "rope_type": "linear",
                    "factor": 4.0
                }), 3, ["rope_scaling is", "the same as rope_parameters, {", "\"factor\":4.0}, or null)"]),
    "window": ("a sliding window of 0", family("mistral", "MistralForCausalLM", sliding_window=0), 3,
               ["sliding_window is 0 (expected: an integer of at least 1, or null"]),
    "layer_types":
        ("an unknown type of layer", config(layer_types=["full_attention"] * 6 + ["linear_attention"]), 3,
         ["layer_types[6] is \"linear_attention\" (expected: full_attention or sliding_attention)"]),
    "eos_text": ("an eos_token_id in words", config(eos_token_id="<|im_end|>"), 3,
                 ["eos_token_id is \"<|im_end|>\" (expected: an integer, or a list of integers)"]),
    "dtype_int8": ("torch_dtype int8", config(torch_dtype="int8"), 3,
                   ["torch_dtype is \"int8\"", "supported: float32, float16, bfloat16"]),
    "two_architectures":
        ("two architectures", config(architectures=["LlamaForCausalLM", "LlamaModel"]), 3,
         ["architectures is [\"LlamaForCausalLM\",\"LlamaModel\"] (expected: an array with one class name)"]),
    # --- the weights
    "untied": ("tie_word_embeddings false, no lm_head", config(tie_word_embeddings=False), 3,
               ["lm_head.weight' [2048, 128] is missing", "tie_word_embeddings"]),
    "other_config": ("config.json of a larger model",
                     config(hidden_size=256, head_dim=64, intermediate_size=768), 3, [
                         "has shape [2048, 128], but config.json asks for [2048, 256] (hidden_size)",
                         "not of the same model"
                     ]),
    "more_layers": ("config.json has a layer more than the weights", config(num_hidden_layers=8), 3, [
        "model.layers.7.input_layernorm.weight' [128] is missing",
        "num_hidden_layers in config.json is 8, but the weights have 7 layers"
    ]),
    "seven_of_nine_layers": ("config.json has two layers more", config(num_hidden_layers=9), 3,
                             ["num_hidden_layers in config.json is 9, but the weights have 7 layers"]),
    "smaller_vocabulary": ("vocab_size without the added tokens", config(vocab_size=2000), 3,
                           ["tokenizer.json", "2000", "vocab_size"]),
    "integers": ("weights of integers", typed("I16"), 3,
                 ["model.safetensors: tensor", "dtype I16", "supported: F32, F16, BF16"]),
    "other_names": ("tensors of other names", renamed("model.layers", "transformer.h"), 3, [
        "model.layers.0.input_layernorm.weight' [128] is missing", "'transformer.h.0.input_layernorm.weight'",
        "use a version of this model in the layout of transformers"
    ]),
    "fused": ("q, k and v in one tensor", renamed("q_proj", "qkv_proj"), 3, [
        "q_proj.weight' [128, 128] is missing", "'model.layers.0.self_attn.qkv_proj.weight'",
        "q, k and v in one tensor", "with q_proj, k_proj and v_proj"
    ]),
    "fused_mlp": ("gate and up in one tensor", renamed("gate_proj", "gate_up_proj"), 3,
                  ["gate_proj.weight' [384, 128] is missing", "gate and up in one tensor"]),
    "fused_falcon": ("q, k and v in one tensor, of another name", renamed("q_proj", "query_key_value"), 3,
                     ["self_attn.query_key_value.weight'", "q, k and v in one tensor"]),
    "weights_empty": ("model.safetensors of zero bytes", write("model.safetensors", b""), 3,
                      ["model.safetensors is empty; download it again"]),
    "weights_cut": ("model.safetensors is cut", shorter("model.safetensors", 100), 3,
                    ["model.safetensors is cut short: its last 100 bytes are missing; download it again"]),
    "weights_long":
        ("bytes after the end of model.safetensors", longer("model.safetensors", b"0" * 64), 3,
         ["model.safetensors is too long: its last 64 bytes belong to no tensor; download it again"]),
    "weights_html": ("an error page in place of model.safetensors", write("model.safetensors", HTML), 3,
                     ["model.safetensors", "HTML or XML, perhaps an error page; download it again"]),
    "weights_pointer":
        ("a git-lfs pointer in place of model.safetensors", write("model.safetensors", POINTER), 3,
         ["model.safetensors", "git-lfs pointer to a file of 3287608 bytes", "git lfs pull"]),
    "weights_pickle":
        ("a pickle named model.safetensors", write("model.safetensors", b"PK\3\4" + b"x" * 100), 3, [
            "model.safetensors", "a PyTorch pickle; download the real file",
            "if you trust this one, rename it", "save_pretrained"
        ]),
    "weights_gguf": ("a GGUF file named model.safetensors", write("model.safetensors", b"GGUF" + b"\0" * 100),
                     3, ["model.safetensors", "a GGUF file", "the ending .gguf"]),
    "weights_link": ("model.safetensors is a broken link", link("model.safetensors", "../blobs/abc"), 3,
                     ["model.safetensors", "link to ../blobs/abc, which does not exist"]),
    "weights_mode": ("model.safetensors without the right to read it", mode("model.safetensors", 0), 3,
                     ["MODEL/model.safetensors: Permission denied", "the right to read it (chmod)"]),
    "shard_missing": ("a shard of the index is not there", shards, 3, [
        "model.safetensors.index.json names 2 files", "model-00002-of-00002.safetensors",
        "download the folder again"
    ]),
    "shard_no_index":
        ("the first of two shards, no index", rename("model.safetensors",
                                                     "model-00001-of-00002.safetensors"), 3,
         ["model-00001-of-00002.safetensors is one of 2 files, of which only 1",
          "download the folder again"]),
    "index_escapes": (
        "an index that names a file outside",
        both(rename("model.safetensors", "other.safetensors"),
             write("model.safetensors.index.json", {"weight_map": {
                 "model.norm.weight": "../../etc/passwd"
             }})), 3,
        ["weight_map[\"model.norm.weight\"] is \"../../etc/passwd\"", "the name of a file of this folder"]),
    # --- the tokenizer
    "no_tokenizer": ("no tokenizer at all", remove("tokenizer.json"), 3,
                     ["MODEL has no tokenizer.json; download the folder again"]),
    "sentencepiece": ("tokenizer.model only", rename("tokenizer.json", "tokenizer.model"), 3,
                      ["has no tokenizer.json, only tokenizer.model", "AutoTokenizer"]),
    "vocab_merges": ("vocab.json and merges.txt only",
                     both(rename("tokenizer.json", "vocab.json"), write("merges.txt", b"#version: 0.2\n")), 3,
                     ["has no tokenizer.json, only vocab.json and merges.txt", "AutoTokenizer"]),
    "tekken": ("tekken.json only", rename("tokenizer.json", "tekken.json"), 3,
               ["has no tokenizer.json, only tekken.json", "version of the model for transformers"]),
    "tokenizer_cut": ("tokenizer.json is cut", shorter("tokenizer.json", 100), 3,
                      ["tokenizer.json is not valid JSON", "it ends too early"]),
    "tokenizer_pointer": ("a git-lfs pointer in place of tokenizer.json", write("tokenizer.json", POINTER), 3,
                          ["tokenizer.json", "git-lfs pointer", "git lfs pull --include tokenizer.json"]),
    "wordpiece": ("a tokenizer of WordPiece", edit("tokenizer.json", model={
        "type": "WordPiece",
        "vocab": {}
    }), 3, ["model.type is \"WordPiece\"", "supported: BPE"]),
    "normalizer": ("an unknown normalizer", edit("tokenizer.json", normalizer={"type": "Nmt"}), 3,
                   ["normalizer.type is \"Nmt\"", "supported: Sequence, NFC"]),
    "pretokenizer": ("an unknown pre-tokenizer",
                     edit("tokenizer.json", pre_tokenizer={"type": "BertPreTokenizer"}), 3,
                     ["pre_tokenizer.type is \"BertPreTokenizer\"", "supported: Sequence, Split"]),
    "decoder": ("an unknown decoder", edit("tokenizer.json", decoder={"type": "WordPiece"}), 3,
                ["decoder.type is \"WordPiece\"", "supported: Sequence, ByteLevel"]),
    "postprocessor": ("an unknown post-processor", edit("tokenizer.json", post_processor={"type": "Unheard"}),
                      3, ["post_processor.type is \"Unheard\"", "supported: "]),
    "bad_regex": ("a regex with an unknown construct",
                  edit("tokenizer.json",
                       pre_tokenizer={
                           "type": "Split",
                           "pattern": {
                               "Regex": "(?<=a)(?R)b"
                           },
                           "behavior": "Isolated",
                           "invert": False
                       }), 3, ["tokenizer.json: pre_tokenizer Split", "the group '(?R)' at byte 6"]),
    "large_vocabulary": ("a tokenizer of a larger model", larger_vocabulary, 3,
                         ["tokenizer.json", "<extra_2>", "embeddings for 2048 tokens", "vocab_size"]),
    "token_number": ("bos_token is a number", edit("tokenizer_config.json", bos_token=7), 3,
                     ["tokenizer_config.json: bos_token is 7 (expected: a string"]),
    "decoder_key": ("a word as key of added_tokens_decoder",
                    edit("tokenizer_config.json", added_tokens_decoder__eos={"content": "x"}), 3,
                    ["added_tokens_decoder has the key \"eos\" (expected: the id of a token, from 0 to"]),
    # --- the template and the defaults
    "template_syntax": ("a template that is cut",
                        edit("tokenizer_config.json",
                             chat_template="{% for message in messages %}\n{{ message.content }}\n"), 3, [
                                 "tokenizer_config.json: chat_template: line 2, column 22: expected",
                                 "expected '{% endfor %}'", "--chat-template"
                             ]),
    "template_filter":
        ("a template with an unknown filter",
         edit("tokenizer_config.json", chat_template="line one\n{{ messages | shuffle }}"), 3,
         ["chat_template: line 2, column 15: the filter 'shuffle' is not supported", "--chat-template"]),
    "template_number": ("a template that is a number", edit("tokenizer_config.json", chat_template=7), 3,
                        ["chat_template is 7 (expected: a string"]),
    "template_file": ("a syntax error in chat_template.jinja",
                      write("chat_template.jinja", b"a\nb {{ messages[0 }}"), 3,
                      ["chat_template.jinja: line 2, column 17: unexpected '}'", "--chat-template FILE"]),
    "temperature": ("a temperature in words", edit("generation_config.json", temperature="warm"), 3,
                    ["generation_config.json: temperature is \"warm\" (expected: a number from 0 to 100)"]),
    "top_p": ("top_p of 1.5", edit("generation_config.json", top_p=1.5), 3,
              ["generation_config.json: top_p is 1.5 (expected: a number from 0 to 1)"]),
    "top_k_fraction": ("top_k of 2.5", edit("generation_config.json", top_k=2.5), 3,
                       ["generation_config.json: top_k is 2.5 (expected: an integer from -1"]),
    "generation_cut": ("generation_config.json is cut", shorter("generation_config.json", 20), 3,
                       ["generation_config.json is not valid JSON", "it ends too early"]),
    # --- served, with a warning
    "key_twice": ("a key of config.json twice",
                  replace("config.json", b'"rope_theta"', b'"rms_norm_eps": 0.5, "rope_theta"'), 0,
                  ["warning", "the last one counts; remove the other", "key=rms_norm_eps, again_in_line=27"]),
    "eos_too_high": ("an eos_token_id beyond the vocabulary", config(eos_token_id=2048), 0, [
        "warning", "config.json: eos_token_id", "id=2048", "vocab_size=2048",
        "answers do not end at it; correct or remove it"
    ]),
    "generation_eos":
        ("an eos_token_id of generation_config.json beyond the vocabulary",
         edit("generation_config.json", eos_token_id=[2047, 99999]), 0,
         ["warning", "generation_config.json: eos_token_id", "id=99999", "answers do not end at it"]),
    "adapter_beside":
        ("an adapter beside the weights of a model",
         both(write("adapter_config.json", {"peft_type": "LORA"}),
              write("adapter_model.safetensors", b"\2\0\0\0\0\0\0\0{}")), 0,
         ["warning", "adapter_config.json", "not applied: the base weights are served", "merge it"]),
    "rope_key": ("a key that no rope reads",
                 config(rope_scaling={
                     "type": "linear",
                     "factor": 2.0,
                     "finetuned": True
                 }), 0, ["warning", "rope_scaling.finetuned, value=true", "check its name, or remove it"]),
    "bos_too_high": ("a bos_token_id beyond the vocabulary", config(bos_token_id=2048), 0,
                     ["warning", "config.json: bos_token_id", "id=2048", "prompts do not begin with it"]),
    "unread_tensor":
        ("a tensor that the architecture does not read",
         header(lambda tensors: tensors.
                update({"x.weight": {
                    "dtype": "F32",
                    "shape": [0],
                    "data_offsets": [0, 0]
                }})), 0, ["warning", "does not read", "count=1, first=x.weight", "check that config.json"]),
    "fewer_layers": ("config.json has a layer fewer than the weights", config(num_hidden_layers=6), 0, [
        "warning", "more layers than num_hidden_layers", "num_hidden_layers=6, layers=7",
        "download both again"
    ]),
}
