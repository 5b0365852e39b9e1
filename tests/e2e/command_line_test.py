"""Faulty command lines: each gets its exit code, and a message that names the origin of each fault and what
to write instead. And the manual page and the completions, which come from the same tables."""

import json
import pathlib
import shlex
import shutil
import subprocess

import pytest
from daemon import MODEL, run

ONCE = "serve --model m "
HELP = None  # in place of the faults: the help

# Name: command line, exit code, and for each line of the message the words that it must have. MODEL is the
# demo model, and FILE a file with the lines of the row's last part; variables stand before the command.
FAULTS = {
    # commands
    "nothing": ("", 2, HELP),
    "sevre": ("sevre", 2, ["no command 'sevre'; did you mean serve?"]),
    "valdate": ("valdate --model m", 2, ["did you mean validate?"]),
    "inspcet": ("inspcet dir", 2, ["did you mean inspect?"]),
    "purg": ("purg dir", 2, ["did you mean purge?"]),
    "verfy": ("verfy dir", 2, ["did you mean verify?"]),
    "versoin": ("versoin", 2, ["did you mean version?"]),
    "hlep": ("hlep", 2, ["did you mean help?"]),
    "no such": ("stop-now", 2, ["no command 'stop-now'; see prefixd --help"]),
    "one word": ("convert m", 2, ["TO is required: prefixd convert FROM TO"]),
    "three words": ("convert a b c", 2, ["'c' is one word too many; see prefixd convert --help"]),
    "vresion": ("--vresion", 2, ["did you mean --version?"]),
    "flag first": ("--model m serve", 2, ["--model comes after a command, as in prefixd serve --model"]),
    "strange flag": ("-q", 2, ["no command '-q'; see prefixd --help"]),
    "help sevre": ("help sevre", 2, ["did you mean serve?"]),
    "help of two": ("help serve validate", 2, ["takes one command"]),
    # names of options
    "no model": ("serve", 2, ["--model (or PREFIXD_MODEL, or model in the config file) is required"]),
    "modell": ("serve --modell m", 2, ["--modell is not an option of prefixd; did you mean --model?"]),
    "thraeds": (ONCE + "--thraeds 2", 2, ["did you mean --threads?"]),
    "with equals": (ONCE + "--thraeds=2", 2,
              ["--thraeds is not an option of prefixd; did you mean --threads?"]),
    "underscore": (ONCE + "--max_queue 3", 2,
              ["--max_queue is not an option of prefixd; did you mean --max-queue?"]),
    "one dash": ("serve -model m", 2, ["-model is not an option of prefixd; did you mean --model?"]),
    "model as a word": ("serve ./folder", 2, ["is not an option of prefixd; did you mean --model ./folder?"]),
    "stray": (ONCE + "stray", 2, ["'stray' is not an option of prefixd; see prefixd serve --help"]),
    "no dashes": (ONCE + "threads", 2, ["'threads' is not an option of prefixd; did you mean --threads?"]),
    "far": (ONCE + "--temperature 1", 2,
              ["--temperature is not an option of prefixd; see prefixd serve --help"]),
    "two unknown": (ONCE + "--thraeds 2 --lisen x", 2, ["did you mean --threads?", "did you mean --listen?"]),
    "of another": (ONCE + "--older-than 7d", 2,
              ["--older-than is not an option of prefixd; it belongs to prefixd purge"]),
    "json": (ONCE + "--json", 2, ["--json is not an option of prefixd; it belongs to prefixd validate"]),
    "twice serve": (ONCE + "serve", 2, ["'serve' is not an option of prefixd"]),
    # values
    "model without": ("serve --model", 2, ["--model has no value: give --model PATH, or --model=PATH"]),
    "flag as value": ("serve --threads --model m", 2, ["--threads has no value: give --threads N"]),
    "word": (ONCE + "--threads two", 2,
              ["--threads: 'two' is not a whole number; it takes 1 to 8192, or auto"]),
    "zero": (ONCE + "--threads 0", 2, ["--threads: '0' is out of range; it takes 1 to 8192"]),
    "many": (ONCE + "--threads 99999", 2, ["--threads: '99999' is out of range; it takes 1 to 8192"]),
    "huge": (ONCE + "--max-queue 99999999999999999999", 2, ["--max-queue: '99999999999999999999'"]),
    "twice": (ONCE + "--threads 1 --threads 2", 2, ["--threads is given twice; leave one of them out"]),
    "twice and wrong": (ONCE + "--threads 0 --threads 2", 2, ["given twice", "'0' is out of range"]),
    "size": (ONCE + "--device-cache 4Gigs", 2,
              ["--device-cache: '4Gigs' is not a size: write bytes, or a number with KiB"]),
    "small size": (ONCE + "--device-cache 1KiB", 2,
              ["--device-cache: '1KiB' is out of range; it takes 4.0 KiB"]),
    "seconds": (ONCE + "--step-seconds soon", 2,
              ["--step-seconds: 'soon' is not a number of seconds; it takes"]),
    "age": (ONCE + "--disk-max-age 7", 2,
              ["--disk-max-age: '7' is not a span of time: write a whole number and s, m, h"]),
    "choice": (ONCE + "--backend avx3", 2, ["--backend: 'avx3' is unknown; it takes one of: auto ref avx2"]),
    "type": (ONCE + "--kv-dtype fp16", 2, ["--kv-dtype: 'fp16' is unknown; it takes one of: auto"]),
    "format": (ONCE + "--log-format xml", 2, ["--log-format: 'xml' is unknown; it takes one of: text json"]),
    "flag's value": (ONCE + "--disk-write-through=maybe", 2, ["'maybe' is neither true nor false"]),
    "power": (ONCE + "--block-tokens 24", 2, ["--block-tokens: 24 is not a power of two; it takes 1, 2, 4"]),
    "tools": (ONCE + "--tool-format hermez", 2,
              ["--tool-format: 'hermez' is unknown; it takes one of: auto"]),
    # variables
    "variable": ("PREFIXD_THREADS=many " + ONCE, 2, ["PREFIXD_THREADS: 'many' is not a whole number"]),
    "variable's range": ("PREFIXD_MAX_QUEUE=0 " + ONCE, 2,
              ["PREFIXD_MAX_QUEUE: '0' is out of range; it takes"]),
    "variable's power": ("PREFIXD_BLOCK_TOKENS=24 " + ONCE, 2, ["PREFIXD_BLOCK_TOKENS: 24 is not a power"]),
    # the file
    "no file": (ONCE + "--config /nowhere.toml", 2,
              ["--config: cannot read '/nowhere.toml'; correct its path"]),
    "folder": (ONCE + "--config /", 2, ["--config: '/' is a folder, not a file"]),
    "name": (ONCE + "--config FILE", 2,
              ["FILE:2: max-que is not an option of prefixd; did you mean max-queue?"],
             "# limits", "max-que = 3"),
    "value": (ONCE + "--config FILE", 2,
              ["FILE:1: threads: 'many' is not a whole number"], 'threads = "many"'),
    "second": (ONCE + "--config FILE", 2, ["FILE:3: threads is given twice, first in line 1"],
               "threads = 1", "", "threads = 2"),
    "table": (ONCE + "--config FILE", 2, ["FILE:1: options are at the top of the file as some-name = value"],
              "[serve]", "threads = 1"),
    "dotted": (ONCE + "--config FILE", 2,
              ["FILE:1: options are at the top of the file"], "serve.threads = 1"),
    "array": (ONCE + "--config FILE", 2, ["FILE:1: threads takes one value: a number, true, false"],
              "threads = [1, 2, 3]"),
    "another file": (ONCE + "--config FILE", 2, ["FILE:1: config: a file cannot name another file"],
                     'config = "b.toml"'),
    "hash": (ONCE + "--config FILE", 2, ["FILE:1: chat-template takes one value"], 'chat-template = "a#b"'),
    "no assignment": (ONCE + "--config FILE", 2, ["FILE:1: '?' is not some-name = value"], "?"),
    "file of a variable": ("PREFIXD_CONFIG=FILE " + ONCE, 2, ["FILE:1: threads: '0' is out of range"],
                           "threads = 0"),
    "everywhere": ("PREFIXD_THREADS=many serve --config FILE --lisen x", 2, [
        "--lisen is not an option of prefixd; did you mean --listen?",
        "FILE:1: context: '1' is out of range; it takes 2 to",
        "PREFIXD_THREADS: 'many' is not a whole number",
        "--model (or PREFIXD_MODEL"], "context = 1"),
    # directories of a disk cache
    "no directory": ("inspect", 2, ["DIR is required: prefixd inspect DIR"]),
    "two directories": ("inspect a b", 2, ["'b' is one word too many; see prefixd inspect --help"]),
    "jsn": ("inspect a --jsn", 2, ["--jsn is not a flag of prefixd inspect; did you mean --json?"]),
    "not there": ("inspect /nowhere", 2, ["/nowhere"]),
    "purge what": ("purge a", 2, ["say what to purge: --model, --tenant, --tenant-key, --older-than"]),
    "purge both": ("purge a --all --tenant x", 2, ["--all removes everything; give it alone, or filters"]),
    "purge's age": ("purge a --older-than 7", 2, ["--older-than: '7' is not a span of time: write a whole"]),
    "purge no model": ("purge a --model=", 2, ["--model: '' is not the beginning of a fingerprint"]),
    "purge nothing": ("purge", 2, ["DIR is required: prefixd purge DIR", "say what to purge"]),
    "purge no key": ("purge a --tenant-key ''", 2, ["--tenant-key: '' is not a file; leave it out"]),
    "purge al": ("purge a --al", 2, ["--al is not a flag of prefixd purge; did you mean --all?"]),
    "purge threads": ("purge a --threads 2", 2,
              ["--threads is not a flag of prefixd purge; it belongs to prefixd serve"]),
    "purge nothing and nowhere": ("purge --older-than", 2, ["--older-than has no value", "DIR is required"]),
    "verify all": ("verify a --all", 2,
              ["--all is not a flag of prefixd verify; it belongs to prefixd purge"]),
    "verify maybe": ("verify a --delete=maybe", 2, ["--delete: 'maybe' is neither true nor false"]),
    # a daemon that is asked
    "watch a directory": ("inspect a --watch 2", 2, ["--watch goes with --live ADDR, which asks a daemon"]),
    "live": ("inspect --live", 2, ["--live has no value: give --live ADDR", "DIR is required"]),
    "live what": ("inspect --live unix:/a redy", 2,
              ["'redy' is not what --live can ask: status, ready, requests or request ID"]),
    "live request": ("inspect --live unix:/a request", 2,
              ["request takes the id of one: prefixd inspect --live"]),
    "live words": ("inspect --live unix:/a ready now", 2, ["'now' is one word too many"]),
    "live watch": ("inspect --live unix:/a --watch ready", 2,
              ["--watch: 'ready' is not a number of seconds from 1 to 86400"]),
    "live port": ("inspect --live 127.0.0.1", 2, ["--live 127.0.0.1: expected ADDR:PORT"]),
    "admin port": ("validate --model MODEL --admin-listen 0.0.0.0:9", 2,
              ["admin-listen: others than this machine can reach 0.0.0.0:9, and no key is required"]),
    # other commands
    "version extra": ("version 2", 2, ["'2' is one word too many; see prefixd version --help"]),
    "csh": ("help-completion csh", 2, ["'csh' is unknown; help-completion takes one of: bash zsh fish"]),
    "no shell": ("help-completion", 2, ["SHELL is required: prefixd help-completion SHELL"]),
    # what only the model and the machine show
    "model of nowhere": ("validate --model /nowhere", 3, ["model refused: "]),
    "long context": ("validate --model MODEL --context 5000", 2, ["context: "]),
    "no keys": ("validate --model MODEL --api-keys /nowhere", 2, ["cannot read '/nowhere'"]),
    "no template": ("validate --model MODEL --chat-template /nowhere", 2, ["cannot read '/nowhere'"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_command_line_is_explained(tmp_path, name):
    line, code, faults, *text = FAULTS[name]
    file = tmp_path / "prefixd.toml"
    file.write_text("\n".join(text) + "\n")
    words = [word.replace("FILE", str(file)).replace("MODEL", str(MODEL)) for word in shlex.split(line)]
    variables = {}
    while words and words[0].startswith("PREFIXD_"):
        variable, value = words.pop(0).split("=")
        variables[variable] = value
    done = run(*words, environment=variables)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    if faults is HELP:
        assert "serve" in done.stderr and "--help" in done.stderr
        return
    lines = done.stderr.splitlines()
    assert len(lines) == len(faults), done.stderr
    for found, words in zip(lines, faults):
        assert words.replace("FILE", str(file)) in found, done.stderr


def test_faults_are_json_where_json_is_asked_for():
    done = run("purge", "--json", "--al", "--older-than", "7")
    assert done.returncode == 2 and done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1 and answer["ok"] is False and answer["exit_code"] == 2
    assert len(answer["faults"]) == 3 and "did you mean --all?" in answer["faults"][0], answer
    assert answer["error"].splitlines() == answer["faults"]
    done = run("validate", "--json", "--thraeds", "2")
    assert [done.returncode, len(json.loads(done.stdout)["faults"])] == [2, 2]


def test_the_table_has_many_rows():
    assert len(FAULTS) >= 60


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed (Debian package)")
def test_mandoc_finds_no_fault_in_the_manual_page(tmp_path):
    page = tmp_path / "prefixd.1"
    page.write_text(run("help-man").stdout)
    lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True)
    assert lint.stdout + lint.stderr == "" and lint.returncode == 0
    page.write_text(page.read_text().replace(".SH OPTIONS", ".SHH OPTIONS"))
    assert "unknown" in subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True).stdout
    shown = subprocess.run(["mandoc", "-T", "ascii", page], capture_output=True, text=True).stdout
    assert "--disk-cache-dir" in shown.replace("_\b", "").replace("\b", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_is_a_script_of_its_shell(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "completion"
    script.write_text(run("help-completion", shell).stdout)
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    script.write_text(script.read_text() + "if then\n")
    assert subprocess.run([shell, "-n", script], capture_output=True).returncode != 0


def completed(script, *words):
    """What bash offers for the last of the words."""
    program = ('compopt() { :; }; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _prefixd; '
               'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", program, "bash", script, "prefixd", *words], capture_output=True,
                          text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes(tmp_path):
    script = tmp_path / "completion"
    script.write_text(run("help-completion", "bash").stdout)
    assert completed(script, "v") == ["validate", "verify", "version"]
    assert completed(script, "serve", "--disk-cache") == ["--disk-cache-dir", "--disk-cache"]
    assert completed(script, "serve", "--backend", "avx5") == ["avx512", "avx512bf16"]
    for words in (["j"], ["=", "j"]):
        assert completed(script, "serve", "--log-format", *words) == ["json"]
    assert completed(script, "serve", "--threads", "") == []
    assert "--yes" in completed(script, "purge", "--") and "--yes" not in completed(script, "verify", "--")
    assert "serve" in completed(script, "help", "")
    folder = str(pathlib.Path(MODEL).parent)
    assert completed(script, "serve", "--model", f"{folder}/de") == [str(MODEL)]
    assert completed(script, "inspect", f"{folder}/de") == [str(MODEL)]
