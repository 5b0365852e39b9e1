"""Damages for copies of the demo model: functions of the folder. One that returns a path means that path."""

import json
import os
import struct

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json")
DELETE = object()  # as the value of a key: removes the key


def both(*damages):

    def apply(folder):
        for damage in damages:
            damage(folder)

    return apply


def write(name, data):

    def apply(folder):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())

    return apply


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def rename(old, new):

    def apply(folder):
        (folder / new).parent.mkdir(exist_ok=True, parents=True)
        (folder / old).rename(folder / new)

    return apply


def replace(name, old, new):

    def apply(folder):
        data = (folder / name).read_bytes()
        assert old in data, (name, old)
        (folder / name).write_bytes(data.replace(old, new, 1))

    return apply


def mode(name, bits):
    return lambda folder: (folder / name).chmod(bits)


def only(*damages):
    """An empty folder with what `damages` write."""
    return both(remove(*FILES), *damages)


def edit(name, **changes):
    """Changes keys of a JSON file. Dots in a name go into objects: `a__b` is the key b of a."""

    def apply(folder):
        document = json.loads((folder / name).read_text())
        for path, value in changes.items():
            *outer, key = path.split("__")
            place = document
            for step in outer:
                place = place[step]
            if value is DELETE:
                place.pop(key, None)
            else:
                place[key] = value
        (folder / name).write_text(json.dumps(document))

    return apply


def config(**changes):
    return edit("config.json", **changes)


def family(model_type, class_name, **more):
    return config(model_type=model_type, architectures=[class_name], **more)


def header(change):
    """Rewrites the header of the weights; `change` edits the dictionary of tensors."""

    def apply(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        length, = struct.unpack("<Q", data[:8])
        tensors = json.loads(data[8:8 + length])
        change(tensors)
        text = json.dumps(tensors).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length:])

    return apply


def renamed(old, new):
    return header(lambda tensors: [
        tensors.__setitem__(name.replace(old, new), tensors.pop(name)) for name in list(tensors) if old in
        name
    ])


def typed(dtype, part=""):
    return header(
        lambda tensors:
        [tensors[name].update(dtype=dtype) for name in tensors if part in name and name != "__metadata__"])


def shorter(name, missing):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-missing])


def longer(name, data):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + data)


def link(name, target):

    def apply(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return apply


def shards(folder):
    """Makes an index of two shards, of which only the first is there."""
    data = (folder / "model.safetensors").read_bytes()
    length, = struct.unpack("<Q", data[:8])
    names = sorted(set(json.loads(data[8:8 + length])) - {"__metadata__"})
    files = {name: f"model-0000{1 + (i > 3)}-of-00002.safetensors" for i, name in enumerate(names)}
    write("model.safetensors.index.json", {"metadata": {}, "weight_map": files})(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def hub_cache(folder):
    """The layout of the Hugging Face cache: the files are under snapshots/."""
    snapshot = folder / "snapshots" / "0a1b2c3d"
    snapshot.mkdir(parents=True)
    for name in FILES:
        (folder / name).rename(snapshot / name)
    (folder / "blobs").mkdir()
    write("refs/main", b"0a1b2c3d")(folder)


def whole_cache(folder):
    entry = folder / "models--org--a"
    entry.mkdir()
    for name in FILES:
        (folder / name).rename(entry / name)
    hub_cache(entry)


def inner_folder(folder):
    (folder / "demo").mkdir()
    for name in FILES:
        (folder / name).rename(folder / "demo" / name)


def pipe(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def config_folder(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def packed(folder):
    """Makes the matrices of q_proj hold 8 values of 4 bits in each element of 32 bits."""

    def change(tensors):
        for name, tensor in tensors.items():
            if "q_proj" in name:
                rows, columns = tensor["shape"]
                tensor.update(dtype="U32", shape=[rows, columns // 2])

    header(change)(folder)


def larger_vocabulary(folder):
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["added_tokens"] += [{
        **document["added_tokens"][-1], "id": 2048 + i,
        "content": f"<extra_{i}>"
    } for i in range(3)]
    path.write_text(json.dumps(document))
