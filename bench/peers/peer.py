"""What the PyTorch sides of the benchmarks share: golden sets, times and memory."""

import json
import time

import torch


def times_of(step, warmup, steps):
    """Seconds of each of `steps` calls, after `warmup` more."""
    times = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times[warmup:]


def peak_bytes():
    """The most memory this program ever had resident (Linux). Not ru_maxrss, which counts the parent's before exec."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def load_golden(path):
    """A golden set: what it says of itself, and its tensors by name."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["json"])
        golden = {name: file.get_tensor(name) for name in file.keys()}
    return description, golden


def fill(name, seed, shape, scale, offset):
    """The hash that golden sets fill parameters with (tests/golden/README.md)."""
    import numpy as np

    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & mask
    key ^= seed * golden & mask
    numel = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(1, numel + 1, dtype=np.uint64) * np.uint64(golden)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    v = ((2.0 * (z >> np.uint64(40)).astype(np.float64) - 2.0**24) * 2.0**-24).astype(np.float32)
    return torch.from_numpy(v * np.float32(scale) + np.float32(offset)).reshape(shape)


def errors(found, golden, description):
    """How far tensors are from those of their names in a golden set; of gradients their number and the worst."""
    vanishing = {f"grad.{name}" for name in description["zero_grad_params"]}
    # Largest |difference| over the largest |golden value| of each tensor.
    relative = {}
    for name, value in found.items():
        if name in golden:
            scale = description["grad_global_max"] if name in vanishing else golden[name].abs().max().item()
            relative[name] = (value.detach() - golden[name].reshape(value.shape)).abs().max().item() / scale
    worst = max((name for name in relative if name.startswith("grad.")), key=relative.get)
    result = {name: error for name, error in relative.items() if not name.startswith("grad.")}
    return result | {"gradients": len(relative) - len(result), "worst_gradient": [worst, relative[worst]]}
