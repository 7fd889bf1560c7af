"""The kernels on a GPU beside PyTorch's, eager and compiled, in one run: python bench/gpu_peers.py VF_ENGINE_BINARY

Times are medians of CUDA events with the L2 cache flushed before each run; ours are what `vf-engine bench kernels` reports.
"""

import json
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F

RUNS = 20
flush = torch.empty(64 << 20, device="cuda")


def rms_norm(x, weight, scale, shift):
    y = F.rms_norm(x, x.shape[-1:], weight, eps=1e-6)
    return y * (1 + scale[:, None]) + shift[:, None]


def swiglu(x):
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def vf_loss(z, proj, f):
    # As the reference computes it: both Gram matrices in full, margins 0.5 and 0.25.
    z = F.linear(z, proj)
    zn, fn = F.normalize(z, dim=-1), F.normalize(f, dim=-1)
    distmat = F.relu((zn @ zn.transpose(1, 2) - fn @ fn.transpose(1, 2)).abs() - 0.25).mean()
    return distmat + F.relu(1 - 0.5 - F.cosine_similarity(z, f, dim=-1)).mean()


OPS = {"rms_norm": rms_norm, "swiglu": swiglu, "vf_loss": vf_loss}


def milliseconds(work):
    for _ in range(3):
        work()
    times = []
    for _ in range(RUNS):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        # A little work first, so that launching the measured part is not what is measured.
        torch.cuda._sleep(200_000)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def peer(function, shapes, dtype):
    inputs = [torch.randn(shape, device="cuda", dtype=dtype) for shape in shapes]
    trained = inputs[:2] if function is vf_loss else inputs
    for x in trained:
        x.requires_grad_()
    forward = milliseconds(lambda: function(*inputs))
    y = function(*inputs)
    upstream = torch.randn_like(y)
    return forward, milliseconds(lambda: torch.autograd.grad(y, trained, upstream, retain_graph=True))


def main(binary):
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    big = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    copied = torch.empty_like(big)
    print(f"copy: {2 * big.numel() / milliseconds(lambda: copied.copy_(big)) / 1e6:.0f} GB/s read and written")
    print(f"{'op':10} {'case':28} {'dtype':5} {'forward, backward in µs: ours':>30} {'eager':>18} {'compiled':>18} {'ours GB/s':>10}")
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        command = [binary, "bench", "kernels", "--device", "cuda", "--dtype", name, "--runs", str(RUNS), "--json"]
        for row in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"]:
            function = OPS[row["op"]]
            columns = [(1e3 * row["forward_s"], 1e3 * row["backward_s"])]
            columns += [peer(f, row["shapes"], dtype) for f in (function, torch.compile(function, dynamic=False))]
            shown = "  ".join(f"{1e3 * f:8.1f} {1e3 * b:8.1f}" for f, b in columns)
            print(f"{row['op']:10} {row['label']:28} {name:5}            {shown} {row['bytes'] / row['forward_s'] / 1e9:10.0f}")


main(sys.argv[1])
