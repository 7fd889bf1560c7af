"""The engine's CPU device beside PyTorch, alternating in one run, as a Markdown table.

    cargo build --release && cargo bench --bench ops --no-run
    python bench/compare.py step [--rounds 3]     whole VA-VAE training steps, presets demo and small
    python bench/compare.py dit [--rounds 3]      LightningDiT: training steps, and sampling with guidance
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


# Hidden size, depth and batch of the training steps; hidden channels of SwiGLU are two thirds of four times the size.
DITS = {"small": (256, 6, 16), "B/1": (768, 12, 4)}
TOKENS = 256
POINTS = 51


def dit_flops(dim, depth, batch):
    """Of a training step's products, backward twice forward: linear layers on tokens and on the condition, and attention."""
    hidden = int(2 / 3 * 4 * dim)
    of_token = 2 * (4 * dim * dim + 3 * dim * hidden) + 4 * TOKENS * dim
    return 3 * batch * depth * (TOKENS * of_token + 2 * 6 * dim * dim)


def dit_of_engine(command, preset, *arguments):
    command = [TARGET / "release/vf-engine", "bench", command, "--device", "cpu", "--json", "--preset", preset, *arguments]
    return json_lines(command)[-1]


def dits(rounds):
    print(
        "| | engine | of FMA peak | eager | compiled | faster than eager | than compiled | engine's memory | eager's | compiled's |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    median = lambda runs: statistics.median(run["median_s"] for run in runs)
    for preset, (dim, depth, batch) in DITS.items():
        training = (f"training, {preset}, batch {batch}", "dit-step", ["--set", f"train.batch_size={batch}"], ["--batch", str(batch)])
        points = ["--set", f"sample.num_sampling_steps={POINTS}"]
        sampling = (
            f"sampling, {preset}, 4 images, {POINTS - 1} steps",
            "dit-sample",
            [*points, "--images", "4", "--runs", "1"],
            ["--sample", "--batch", "4", "--points", str(POINTS), "--steps", "1", "--warmup", "1"],
        )
        # Sampling at the larger size takes minutes, and does the same.
        for title, command, arguments, peer_arguments in [training, *([sampling] if preset == "small" else [])]:
            ours, eager, compiled, peaks = [], [], [], []
            for _ in range(rounds):
                report = dit_of_engine(command, preset, *arguments)
                ours.append(report["results"])
                peaks.append(report["peaks"]["gflops"])
                peer = json_lines([sys.executable, PEERS / "dit_step.py", "--preset", preset, *peer_arguments])[-1]
                eager.append(peer["eager"])
                compiled.append(peer["compile"])
            engine = median(ours)
            share = dit_flops(dim, depth, batch) / engine / 1e9 / statistics.median(peaks) if command == "dit-step" else None
            memory = [max(run["process_peak_bytes"] for run in ours)]
            memory += [min(run["peak_growth_bytes"] for run in runs) for runs in (eager, compiled)]
            print(
                f"| {title} | {1e3 * engine:.0f} ms | {f'{100 * share:.0f} %' if share else ''} | {1e3 * median(eager):.0f} ms "
                f"| {1e3 * median(compiled):.0f} ms | {median(eager) / engine:.2f}× | {median(compiled) / engine:.2f}× | "
                + " | ".join(f"{size / 2**20:.0f} MiB" for size in memory)
                + " |",
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
    parser.add_argument("what", choices=["step", "dit", "ops"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    {"step": steps, "dit": dits, "ops": ops}[arguments.what](arguments.rounds)
