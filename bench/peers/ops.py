"""Single operations in PyTorch, timed: the peer of the engine's CPU kernel benchmarks.

    python bench/peers/ops.py [--only conv3x3] [--seconds 0.5] [--threads 2]

Prints a line of JSON for every operation, shape and part (`fwd`, `dgrad`, `wgrad`, `bwd`, `fwd+bwd`, `step`): the median
time, and GFLOP/s or GB/s where the work is defined. Shapes are channels-last as the engine names them, images
(B, H, W, C) and tokens (B, N, C). Convolutions and group norms run in both memory layouts; the faster is reported and
named. Allocation of outputs counts, as it does in training.

Environment: Python 3.11 or later; pip install torch==2.13.* numpy.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

SECONDS = 0.5


def median_time(work):
    """Median seconds of one call, over at least 5 calls and about SECONDS; the first two calls do not count.

    Measure on a quiet machine: PyTorch's threads wait for each other spinning, so that one disturbed thread stops all,
    and other programs' work can cost it far more than its share.
    """
    work(), work()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def report(op, shape, part, seconds, flops=None, moved=None, **more):
    line = {"op": op, "shape": shape, "part": part, "median_s": seconds}
    if flops:
        line["gflops"] = flops / seconds / 1e9
    if moved:
        line["gb_per_s"] = moved / seconds / 1e9
    print(json.dumps(line | more), flush=True)


LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def image(b, h, w, c, layout):
    return torch.randn(b, c, h, w).contiguous(memory_format=LAYOUTS[layout])


def faster(times):
    """Of {layout: {part: seconds}}, per part the faster layout: {part: (seconds, layout)}."""
    parts = next(iter(times.values()))
    return {part: min((found[part], layout) for layout, found in times.items()) for part in parts}


def conv(op, b, h, w, i, o, kernel=3, stride=1, pads=(1, 1, 1, 1), upsample=False):
    """`pads` are left, right, top, bottom; unequal ones are a padded copy of the input, as the reference does it."""
    same = len(set(pads)) == 1
    times = {}
    for layout in LAYOUTS:
        x = image(b, h, w, i, layout)
        weight = torch.randn(o, i, kernel, kernel).contiguous(memory_format=LAYOUTS[layout])
        bias = torch.randn(o)

        def prepare(x):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") if upsample else x
            return x if same else F.pad(x, pads)

        def forward(x, weight, bias):
            return F.conv2d(prepare(x), weight, bias, stride, pads[0] if same else 0)

        gradient = torch.randn_like(forward(x, weight, bias))
        with torch.no_grad():
            found = {"fwd": median_time(lambda: forward(x, weight, bias))}
        leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]

        def backward(wanted):
            """Seconds of the backward alone, for a graph made before."""
            out = forward(*leaves)
            return median_time(lambda: torch.autograd.grad(out, wanted, gradient, retain_graph=True))

        found["dgrad"] = backward(leaves[:1])
        found["wgrad"] = backward(leaves[1:])
        found["fwd+bwd"] = median_time(lambda: torch.autograd.grad(forward(*leaves), leaves, gradient))
        times[layout] = found
    flops = 2 * gradient.numel() * i * kernel * kernel
    shape = [b, h, w, i, o]
    for part, (seconds, layout) in faster(times).items():
        report(op, shape, part, seconds, flops * (3 if part == "fwd+bwd" else 1), layout=layout)


def group_norm_silu(b, h, w, c):
    times = {}
    for layout in LAYOUTS:
        x = image(b, h, w, c, layout)
        weight, bias = torch.randn(c), torch.randn(c)

        def forward(x, weight, bias):
            return F.silu(F.group_norm(x, 32, weight, bias, 1e-6))

        times[layout] = forward_and_backward(forward, [x, weight, bias])
    # At least: forward reads x and writes y; backward reads x and the gradient and writes the other.
    size = 4 * b * h * w * c
    moved = {"fwd": 2 * size, "fwd+bwd": 5 * size}
    for part, (seconds, layout) in faster(times).items():
        report("group_norm_silu", [b, h, w, c], part, seconds, moved=moved[part], layout=layout)


def forward_and_backward(forward, leaves):
    """{"fwd": seconds without a graph, "fwd+bwd": seconds with gradients of every leaf}."""
    with torch.no_grad():
        gradient = torch.randn_like(forward(*leaves))
        fwd = median_time(lambda: forward(*leaves))
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    both = median_time(lambda: torch.autograd.grad(forward(*leaves), leaves, gradient))
    return {"fwd": fwd, "fwd+bwd": both}


def report_pair(op, shape, times, flops=None, moved=None):
    """`flops` and `moved` are (forward, forward and backward)."""
    for index, part in enumerate(("fwd", "fwd+bwd")):
        report(op, shape, part, times[part], flops and flops[index], moved and moved[index])


def attention(b, n, heads, d):
    # Made as (B, N, heads, d) and seen as (B, heads, N, d): what the linear layer before it leaves.
    qkv = [torch.randn(b, n, heads, d).transpose(1, 2) for _ in range(3)]
    products = 2 * b * heads * n * n * d
    times = forward_and_backward(F.scaled_dot_product_attention, qkv)
    # Two products forward; the backward makes the scores again and four products more.
    report_pair("attention", [b, n, heads, d], times, flops=(2 * products, 7 * products))


def linear(rows, i, o):
    leaves = [torch.randn(rows, i), torch.randn(o, i), torch.randn(o)]
    product = 2 * rows * i * o
    report_pair("linear", [rows, i, o], forward_and_backward(F.linear, leaves), flops=(product, 3 * product))


def rowwise(op, rows, c, forward, leaves):
    size = 4 * rows * c
    report_pair(op, [rows, c], forward_and_backward(forward, leaves), moved=(2 * size, 5 * size))


def rms_norm(rows, c):
    forward = lambda x, weight: F.rms_norm(x, (c,), weight, 1e-6)
    rowwise("rms_norm", rows, c, forward, [torch.randn(rows, c), torch.randn(c)])


def layer_norm(rows, c):
    forward = lambda x, weight, bias: F.layer_norm(x, (c,), weight, bias, 1e-6)
    rowwise("layer_norm", rows, c, forward, [torch.randn(rows, c), torch.randn(c), torch.randn(c)])


def swiglu(rows, hidden):
    def forward(x):
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value

    size = 4 * rows * hidden
    times = forward_and_backward(forward, [torch.randn(rows, 2 * hidden)])
    # (rows, 2·hidden) → (rows, hidden): 3 halves forward; 2 + 1 read and 2 written backward.
    report_pair("swiglu", [rows, 2 * hidden], times, moved=(3 * size, 8 * size))


def vf_loss(b, n, z_width, f_width):
    def forward(z, weight, f=torch.randn(b, f_width, n)):
        projected = torch.einsum("fz,bzn->bfn", weight, z)
        z_unit, f_unit = F.normalize(projected, dim=1), F.normalize(f, dim=1)
        apart = torch.einsum("bci,bcj->bij", z_unit, z_unit) - torch.einsum("bci,bcj->bij", f_unit, f_unit)
        askew = 1.0 - 0.5 - F.cosine_similarity(f, projected, dim=1)
        return F.relu(apart.abs() - 0.25).mean() + F.relu(askew).mean()

    times = forward_and_backward(forward, [torch.randn(b, z_width, n), torch.randn(f_width, z_width)])
    report_pair("vf_loss", [b, n, z_width, f_width], times)


def adamw_ema(millions):
    """AdamW (fused, PyTorch's fastest) and an exponential moving average, over tensors of 1M parameters."""
    parameters = [torch.randn(1_000_000, requires_grad=True) for _ in range(millions)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    average = [parameter.detach().clone() for parameter in parameters]

    def step(optimizer):
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1e-4)

    options = {"lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.01}
    times = {}
    for variant in ("fused", "foreach"):
        optimizer = torch.optim.AdamW(parameters, **options, **{variant: True})
        times[variant] = {"step": median_time(lambda: step(optimizer))}
    # Read p, g, m, v, average; write p, m, v, average.
    moved = 9 * 4 * millions * 1_000_000
    for part, (seconds, variant) in faster(times).items():
        report("adamw_ema", [millions * 1_000_000], part, seconds, moved=moved, variant=variant)


def conv3x3():
    for b, h, c in [(4, 96, 32), (2, 128, 64), (2, 64, 64), (1, 64, 128), (1, 32, 256), (1, 16, 512)]:
        conv("conv3x3", b, h, h, c, c)
    conv("conv3x3", 1, 32, 32, 128, 256)


CASES = {
    "conv3x3": conv3x3,
    "conv3x3_in3": lambda: conv("conv3x3_in3", 2, 128, 128, 3, 64),
    "conv3x3_out3": lambda: conv("conv3x3_out3", 2, 128, 128, 64, 3),
    "conv3x3_s2": lambda: [
        conv("conv3x3_s2", b, h, h, c, c, stride=2, pads=(0, 1, 0, 1)) for b, h, c in [(2, 128, 64), (1, 64, 128)]
    ],
    "conv1x1": lambda: [
        conv("conv1x1", b, h, h, i, o, kernel=1, pads=(0,) * 4) for b, h, i, o in [(2, 32, 64, 128), (1, 16, 512, 512)]
    ],
    "conv3x3_upsample": lambda: [
        conv("conv3x3_upsample", b, h, h, c, c, upsample=True) for b, h, c in [(2, 64, 64), (1, 32, 128)]
    ],
    "group_norm_silu": lambda: [
        group_norm_silu(b, h, h, c) for b, h, c in [(4, 96, 32), (2, 128, 64), (1, 64, 128), (1, 16, 512)]
    ],
    "attention": lambda: [attention(*s) for s in [(2, 256, 12, 64), (2, 256, 16, 72), (2, 256, 1, 512)]],
    "linear": lambda: [linear(*s) for s in [(512, 768, 2304), (512, 768, 768), (512, 1152, 6144), (4096, 64, 64)]],
    "rms_norm": lambda: [rms_norm(*s) for s in [(512, 768), (4096, 1152)]],
    "layer_norm": lambda: [layer_norm(*s) for s in [(514, 384), (4096, 1152)]],
    "swiglu": lambda: [swiglu(*s) for s in [(512, 2048), (512, 3072)]],
    "vf_loss": lambda: [vf_loss(*s) for s in [(4, 36, 16, 384), (2, 64, 32, 384), (2, 256, 32, 1024)]],
    "adamw_ema": lambda: adamw_ema(40),
}


def main():
    global SECONDS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, action="append", help="may be given more than once")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about how long to time each part")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    SECONDS = args.seconds
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    for name in args.only or CASES:
        CASES[name]()


if __name__ == "__main__":
    main()
