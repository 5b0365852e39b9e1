"""Checks that docs/OPERATIONS.md is complete and correct.

It must explain every error code and log line in the sources, and its start errors must be those that the
daemon prints.
"""

import re

import pytest

from daemon import MODEL, ROOT, run

PAGE = (ROOT / "docs/OPERATIONS.md").read_text()
PAGE_WORDS = re.sub(r"\s+", " ", PAGE)
FOLDERS = ("base", "hashing", "text", "storage", "kernels", "model", "cache", "engine", "daemon")


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.cc")):
            yield path.relative_to(ROOT), path.read_text()


def test_every_error_code_is_explained():
    codes = set()
    for path, text in sources():
        if path.parts[0] == "daemon" and path.parts[1] in ("api", "http"):
            codes |= set(re.findall(r'\.code = "(\w+)"', text))
            codes |= set(re.findall(r'"((?:invalid|missing|unsupported)_[a-z_]+)"',
                                    text)) - {"invalid_request_error"}
    assert len(codes) > 10
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []


def test_every_log_line_is_explained():
    lines = {
        message for _, text in sources() for message in re.findall(r'Log\(LogLevel::k\w+,\s*"([^"]+)"', text)
    }
    assert len(lines) > 10
    assert [line for line in sorted(lines) if line.rstrip(": ") not in PAGE_WORDS] == []


def test_every_field_of_a_request_line_is_explained():
    text = (ROOT / "daemon/api/request_log.cc").read_text()
    fields = set(re.findall(r'\{"(\w+)", ', text))
    assert len(fields) > 12
    assert [field for field in sorted(fields) if f"`{field}`" not in PAGE] == []


def test_every_unsupported_field_is_named():
    rows = {
        name for _, text in sources() if "UnsupportedField kUnsupported" in text
        for name in re.findall(r'\{"(\w+)", AllowedValue::', text)
    }
    assert len(rows) >= 30
    assert [name for name in sorted(rows) if f"`{name}`" not in PAGE] == []


# Name: (exit code, arguments of `serve`, words that must be both in its error message and in the page).
FAULTS = {
    "misspelt": (2, ["--modle", "x"], "is not an option of prefixd; did you mean --"),
    "range": (2, ["--threads", "0"], "is out of range; it takes"),
    "number": (2, ["--threads", "two"], "is not a whole number"),
    "file": (2, ["--api-keys", "/nowhere"], "cannot read '"),
    "page": (2, ["--cors-origin", "chat.example.org"], "is not an origin"),
    "context": (2, ["--context", "4096", "--device-cache", "1MiB"], "tokens do not fit the device cache"),
    "model_context": (2, ["--context", "5000"], "tokens are more than the"),
    "unit": (2, ["--device-cache", "1000TiB"], "of memory that this process may ever have"),
    "tiny": (2, ["--device-cache", "4KiB"], "holds no sequence"),
    "step": (2, ["--step-tokens", "1"], "is below max-sequences"),
    "disk": (2, ["--disk-cache-dir", "/dev/null/kv"], "is not a directory"),
    "address": (2, ["--listen", "192.0.2.1:80", "--allow-no-keys"],
                "no interface of this machine has that address"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_start_errors_match_the_page(fault):
    code, arguments, words = FAULTS[fault]
    done = run("serve", "--model", MODEL, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert words in PAGE_WORDS
