"""`validate` says of every broken folder what is wrong and what to do. broken_folders.py has the cases."""

import re

import pytest

import broken_folders
from daemon import run

# What a message tells a person to do.
REMEDY = re.compile(
    "; (download|choose|use (the|a)|convert|correct|give |--model|merge the two|remove it|fetch it|"
    "save (it|the model)|then set|make it|take tokenizer|did you mean|copy|one of the two)|"
    "; .*(download|set tie_word)|did you mean")
# What only the messages without a remedy of their own get.
GENERAL = re.compile(
    "; (correct the file or download it again|prefixd cannot serve this model; choose another)$")


@pytest.mark.parametrize("case", broken_folders.CASES)
def test_the_message_says_what_is_wrong_and_what_to_do(case, tmp_path):
    _, _, code, words = broken_folders.CASES[case]
    found, text = broken_folders.message(case, tmp_path / "model")
    assert found == code, text
    assert words
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    *warnings, last = text.splitlines()
    assert all(line.isprintable() for line in text.splitlines()), text
    assert code == 0 or not warnings, text
    assert all(line.startswith("warning: ") for line in [*warnings, last] if code == 0 and line), text
    assert code == 0 or REMEDY.search(last), text
    assert code == 0 or last.startswith("prefixd: model refused: MODEL"), text
    assert not REMEDY.search(GENERAL.sub("", last)) or not GENERAL.search(last), text
    assert not re.search(": (is|has|must) ", last), text


def test_the_model_that_is_broken_is_served_when_whole(tmp_path):
    broken_folders.CASES["whole"] = ("", lambda folder: None, 0, [])
    try:
        assert broken_folders.message("whole", tmp_path / "model") == (0, "")
    finally:
        del broken_folders.CASES["whole"]


def test_weights_that_are_no_numbers_are_found_by_serve(tmp_path):
    """validate does not read the weights, which would take as long as loading them."""
    folder = tmp_path / "model"
    broken_folders.CASES["nan"] = ("", lambda folder: None, 0, [])
    try:
        broken_folders.make("nan", folder)
    finally:
        del broken_folders.CASES["nan"]
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-2] + b"\xc0\x7f")  # a NaN in BF16
    assert run("validate", "--model", folder, "--device-cache", "4MiB").returncode == 0
    done = run("serve", "--model", folder, "--device-cache", "4MiB", "--listen", "127.0.0.1:0")
    assert done.returncode == 3 and "holds NaN or infinite values" in done.stderr, done.stderr
    assert "download it again" in done.stderr
