"""Folders that are no model, or a model that prefixd does not serve. See broken_folders.py."""

from folder_damage import (DELETE, both, config, family, header, hub_cache, inner_folder, only, packed,
                           remove, rename, renamed, whole_cache, write)

QUANTISED = {"bits": 4, "group_size": 128}

# name: (what the folder is, the damage, the exit code, the words that the message must contain)
CASES = {
    # --- the path
    "no_such_path": ("a path that does not exist", lambda folder: folder / "nowhere", 3,
                     ["MODEL/nowhere: No such file or directory", "--model takes the path"]),
    "empty_folder": ("an empty folder", only(), 3, ["MODEL is empty",
                                                    "Hugging Face folder with config.json"]),
    "config_as_path": ("the file config.json instead of its folder", lambda folder: folder / "config.json", 3,
                       ["MODEL/config.json is not a folder", "give the folder that it is in: --model MODEL"]),
    "weights_as_path": ("the file model.safetensors instead of its folder",
                        lambda folder: folder / "model.safetensors", 3, ["is not a folder", "--model MODEL"]),
    "gguf_as_path": ("a GGUF file", lambda folder: rename("model.safetensors", "model-Q4_K_M.gguf")
                     (folder) or folder / "model-Q4_K_M.gguf", 3,
                     ["model-Q4_K_M.gguf is not a GGUF file", "download"]),
    "hub_cache": ("an entry of the Hugging Face cache (blobs, refs, snapshots)", hub_cache, 3,
                  ["has no config.json", "Hugging Face cache", "--model MODEL/snapshots/0a1b2c3d"]),
    "whole_cache": ("the Hugging Face cache, above its entries", whole_cache, 3,
                    ["Hugging Face cache", "--model MODEL/models--org--a/snapshots/0a1b2c3d"]),
    "folder_above": ("the folder above the model", inner_folder, 3,
                     ["has no config.json", "did you mean --model MODEL/demo?"]),
    "unreadable_folder": ("a folder without the right to read it", lambda folder: folder.chmod(0), 3,
                          ["MODEL cannot be read: Permission denied", "the right to read it (chmod)"]),
    # --- other kinds of folder
    "lora":
        ("a LoRA adapter (PEFT)",
         only(write("adapter_config.json", {
             "peft_type": "LORA",
             "base_model_name_or_path": "org/Base-1B"
         }), write("adapter_model.safetensors",
                   b"\2\0\0\0\0\0\0\0{}")), 3, ["LoRA adapter of org/Base-1B", "merge_and_unload"]),
    "lora_with_config":
        ("a model folder with an adapter instead of weights",
         both(rename("model.safetensors", "adapter_model.safetensors"),
              write("adapter_config.json", {
                  "peft_type": "LORA",
                  "base_model_name_or_path": "org/Base-1B"
              })), 3, ["LoRA adapter of org/Base-1B", "merge_and_unload"]),
    "gguf_folder": ("a folder with GGUF files only", only(write("model-Q8_0.gguf", b"GGUF")), 3,
                    ["model-Q8_0.gguf", "give that file: --model "]),
    "gguf_weights":
        ("config.json beside a GGUF file", rename("model.safetensors", "model-f16.gguf"), 3,
         ["no weights in *.safetensors", "model-f16.gguf", "give that file: --model "]),
    "pytorch_bin": ("weights in pytorch_model.bin only", rename("model.safetensors", "pytorch_model.bin"), 3,
                    ["no weights in *.safetensors", "pytorch_model.bin", "save_pretrained", "the tokenizer"]),
    "pytorch_shards": ("weights in pytorch_model-*.bin only",
                       both(rename("model.safetensors", "pytorch_model-00001-of-00001.bin"),
                            write("pytorch_model.bin.index.json", {"weight_map": {}})), 3, [
                                "no weights in *.safetensors", "pytorch_model-00001-of-00001.bin",
                                "save_pretrained(OTHER), then copy the files of the tokenizer"
                            ]),
    "pytorch_other":
        ("weights of PyTorch that transformers does not read", rename("model.safetensors", "model.pt"), 3,
         ["model.pt, in the format of PyTorch", "use a version of this model with *.safetensors"]),
    "meta_original": ("Meta's own format: params.json and consolidated.00.pth",
                      only(write("params.json", {"dim": 128}), write("consolidated.00.pth", b"PK")), 3, [
                          "has no config.json", "the maker's own format", "params.json",
                          "download the version for transformers"
                      ]),
    "mistral_original": ("Mistral's own format: params.json and consolidated.safetensors",
                         only(write("params.json", {"dim": 128}),
                              write("consolidated.safetensors", b"\2\0\0\0\0\0\0\0{}"),
                              write("tekken.json", {})), 3,
                         ["has no config.json", "consolidated", "download the version for transformers"]),
    "tensorflow": ("weights of TensorFlow", rename("model.safetensors", "tf_model.h5"), 3,
                   ["tf_model.h5", "TensorFlow", "use a version of this model with *.safetensors"]),
    "jax": ("weights of JAX", rename("model.safetensors", "flax_model.msgpack"), 3,
            ["flax_model.msgpack, in the format of JAX", "use a version of this model with *.safetensors"]),
    "onnx": ("an export to ONNX", rename("model.safetensors", "onnx/model.onnx"), 3,
             ["onnx/model.onnx, an export to ONNX", "use the original Hugging Face folder"]),
    "openvino": ("an export to OpenVINO",
                 both(rename("model.safetensors", "openvino_model.bin"),
                      write("openvino_model.xml", b"<net/>")), 3,
                 ["openvino_model.xml, an export to OpenVINO", "use the original Hugging Face folder"]),
    "diffusers": ("a pipeline of diffusers",
                  only(write("model_index.json", {"_class_name": "StableDiffusionPipeline"}),
                       write("unet/config.json", {})), 3,
                  ["model_index.json", "diffusers (StableDiffusionPipeline)", "choose a language model"]),
    "unfinished_download":
        ("a download that has not finished", rename("model.safetensors", "model.safetensors.incomplete"), 3,
         ["model.safetensors.incomplete", "has not finished", "download the folder again"]),
    "no_weights": ("no weights at all", remove("model.safetensors"), 3,
                   ["no weights in *.safetensors", "download the folder again"]),
    # --- other kinds of model
    "mixtral":
        ("a mixture of experts", family("mixtral", "MixtralForCausalLM"), 3,
         ["MixtralForCausalLM", "model_type is \"mixtral\"", "supported: LlamaForCausalLM",
          "choose a model"]),
    "class_of_another": ("model_type mixtral with the class of Llama", config(model_type="mixtral"), 3, [
        "model_type is \"mixtral\", which is not supported", "llama, mistral, qwen2, qwen3",
        "architectures names another family, LlamaForCausalLM"
    ]),
    "vision_language": ("a vision-language model",
                        family("qwen2_vl", "Qwen2VLForConditionalGeneration", vision_config={"depth": 32}), 3,
                        ["Qwen2VLForConditionalGeneration", "multimodal", "text-only", "choose a model"]),
    "nested_text_config": ("a model of text in text_config",
                           family("mistral3",
                                  "Mistral3ForConditionalGeneration",
                                  text_config={"model_type": "mistral"}), 3,
                           ["Mistral3ForConditionalGeneration", "multimodal", "text-only", "choose a model"]),
    "mamba": ("a state space model", family("mamba", "MambaForCausalLM"), 3,
              ["MambaForCausalLM", "\"mamba\"", "choose a model"]),
    "t5": ("an encoder-decoder", family("t5", "T5ForConditionalGeneration", is_encoder_decoder=True), 3,
           ["T5ForConditionalGeneration", "encoder-decoder", "decoder-only", "choose a model"]),
    "bert": ("an encoder", family("bert", "BertForMaskedLM"), 3,
             ["BertForMaskedLM", "does not generate text; choose a model of one of these classes"]),
    "classifier":
        ("a reward model of a supported family", config(architectures=["LlamaForSequenceClassification"]), 3,
         ["LlamaForSequenceClassification", "does not generate text; choose a model of one of these"]),
    "phi3": ("a family that prefixd does not know", family("phi3", "Phi3ForCausalLM"), 3,
             ["Phi3ForCausalLM", "supported: LlamaForCausalLM"]),
    "no_architecture": ("config.json without model_type and architectures",
                        config(model_type=DELETE, architectures=DELETE), 3,
                        ["architectures and model_type are missing", "LlamaForCausalLM"]),
    "remote_code": ("a model with code of its own",
                    config(model_type="internlm2",
                           architectures=["InternLM2ForCausalLM"],
                           auto_map={"AutoModel": "modeling_internlm2.InternLM2"}), 3,
                    ["InternLM2ForCausalLM", "\"internlm2\"", "choose a model"]),
    # --- quantised
    "awq": ("AWQ", config(quantization_config={
        "quant_method": "awq",
        **QUANTISED
    }), 3, ["quantization_config", "\"awq\"", "supported: weights in F32", "before it was quantised"]),
    "gptq": ("GPTQ", config(quantization_config={
        "quant_method": "gptq",
        **QUANTISED
    }), 3, ["quantization_config", "\"gptq\"", "supported: weights in F32", "before it was quantised"]),
    "bitsandbytes":
        ("bitsandbytes",
         config(quantization_config={
             "quant_method": "bitsandbytes",
             "load_in_4bit": True,
             "bnb_4bit_quant_type": "nf4"
         }), 3,
         ["quantization_config", "\"bitsandbytes\"", "supported: weights in F32", "before it was quantised"]),
    "fp8": ("fp8", config(quantization_config={
        "quant_method": "fp8",
        "fmt": "e4m3"
    }), 3, ["quantization_config", "\"fp8\"", "supported: weights in F32", "before it was quantised"]),
    "compressed": ("compressed-tensors, named by no key of config.json",
                   renamed("q_proj.weight",
                           "q_proj.weight_packed"), 3, ["quantised", "weight_packed", "before it was"]),
    "mlx": ("4 bits of MLX", both(config(quantization={
        "group_size": 64,
        "bits": 4
    }), packed), 3, ["model.safetensors: tensor", "dtype U32", "F32, F16, BF16", "quantised"]),
    "gptq_tensors": ("tensors of GPTQ without quantization_config", renamed("q_proj.weight",
                                                                            "q_proj.qweight"), 3,
                     ["q_proj.weight' [128, 128] is missing", "q_proj.qweight", "quantised"]),
    "fp8_tensors": ("tensors of 8 bits without quantization_config",
                    header(lambda tensors: tensors["model.norm.weight"].update(dtype="F8_E4M3", shape=[256])),
                    3, ["model.safetensors: tensor", "dtype F8_E4M3", "F32, F16, BF16", "quantised"]),
}
