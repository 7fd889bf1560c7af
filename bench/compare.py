"""The engine's CPU device beside PyTorch, alternating in one run, as a Markdown table.

    cargo build --release && cargo bench --bench ops --no-run
    python bench/compare.py step [--rounds 3]     whole VA-VAE training steps, presets demo and small
    python bench/compare.py ops [--rounds 3]      single operations

Run it with the Python that has PyTorch (`cargo xtask bench-peers compare.py step` does), on a quiet machine: each
round runs one side and then the other, and the table shows the median of the rounds. Memory: the whole process of the
engine; for PyTorch what it takes beyond importing it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def json_lines(command):
    """The JSON objects that a command prints, one a line."""
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def step_of_engine(preset):
    settings = ["--set", "train.batch_size=2"] if preset == "small" else []
    command = [TARGET / "release/vf-engine", "bench", "step", "--device", "cpu", "--json", "--preset", preset, *settings]
    return json_lines(command)[-1]["results"]


def step_of_peer(preset):
    return json_lines([sys.executable, PEERS / "vae_step.py", "--preset", preset])[-1]


def steps(rounds):
    print("| preset | engine | PyTorch | faster | engine's memory | PyTorch's |\n|---|---|---|---|---|---|")
    for preset in ("demo", "small"):
        ours, peers = [], []
        for _ in range(rounds):
            ours.append(step_of_engine(preset))
            peers.append(step_of_peer(preset))
        engine = statistics.median(run["median_s"] for run in ours)
        peer = statistics.median(run["median_s"] for run in peers)
        memory = max(run["process_peak_bytes"] for run in ours), min(run["peak_growth_bytes"] for run in peers)
        print(
            f"| {preset} | {1e3 * engine:.0f} ms | {1e3 * peer:.0f} ms ({peers[-1]['fastest']}) | {peer / engine:.2f}× "
            f"| {memory[0] / 2**20:.0f} MiB | {memory[1] / 2**20:.0f} MiB |",
            flush=True,
        )


def medians(rounds_of_lines):
    """{(op, shape, part): median of the rounds' medians}."""
    found = {}
    for line in (line for lines in rounds_of_lines for line in lines if "median_s" in line):
        found.setdefault((line["op"], tuple(line["shape"]), line["part"]), []).append(line["median_s"])
    return {key: statistics.median(times) for key, times in found.items()}


def ops(rounds):
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(json_lines(["cargo", "bench", "--quiet", "--bench", "ops"]))
        peers.append(json_lines([sys.executable, PEERS / "ops.py"]))
    peak = max(line["gflops"] for lines in ours for line in lines if line["op"] == "fma_peak")
    print(f"FMA peak of the engine's runs: {peak:.0f} GFLOP/s\n")
    engine, peer = medians(ours), medians(peers)
    print("| operation | shape | part | engine | PyTorch | faster |\n|---|---|---|---|---|---|")
    for key in (key for key in engine if key in peer):
        op, shape, part = key
        size = "×".join(map(str, shape))
        print(f"| {op} | {size} | {part} | {1e3 * engine[key]:.3f} ms | {1e3 * peer[key]:.3f} ms | {peer[key] / engine[key]:.2f}× |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["step", "ops"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    {"step": steps, "ops": ops}[arguments.what](arguments.rounds)
