"""LightningDiT in PyTorch, timed: the peer of `vf-engine train-dit` and of `vf-engine sample`.

    python bench/peers/dit_step.py --preset small [--mode eager|compile|both] [--steps 5]      training steps
    python bench/peers/dit_step.py --preset small --sample [--points 11] [--batch 8]            sampling with guidance

A training step: x_t on the straight path at logit-normal times, labels dropped one time in ten, squared error + direction of the
velocity, backward, gradient clipping, AdamW (fused), the moving average (foreach). Latents and labels are random: neither changes
the work. Sampling is the reference's: Euler over a shifted grid, batch and unconditional twin in one doubled batch at every step,
guided from 0.11 on in the first three channels. `compile` is torch.compile. Each mode runs in a process of its own, so that the peak
memory is that mode's. Prints one line of JSON.

Measure on a quiet machine: PyTorch's threads wait for each other spinning, so other work slows it by far more than its
share.

    python bench/peers/dit_step.py --verify dit_base.safetensors

compares the model with a golden set of kind `dit`: output, losses, gradients. Done with the four full sets: outputs within 3.2e-7 of the
largest golden value, the worst of their gradients within 7.7e-7.

Environment: Python 3.11 or later; pip install torch==2.13.* safetensors numpy, and a C++ compiler for torch.compile.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from peer import errors, fill, load_golden, peak_bytes, times_of
from torch import nn

# Latents of f16d32 at 256×256; `batch` is the benchmark's own.
PRESETS = {
    "small": dict(hidden_size=256, depth=6, num_heads=4, batch=16),
    "B/1": dict(hidden_size=768, depth=12, num_heads=12, batch=4),
}
LATENTS = dict(input_size=16, patch_size=1, in_channels=32, num_classes=1000)
SWITCHES = dict(use_qknorm=False, use_swiglu=True, use_rope=True, use_rmsnorm=True, wo_shift=False)


class RmsNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-6)


def norm(dim, rms):
    return RmsNorm(dim) if rms else nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)


def modulate(x, shift, scale):
    x = x * (1 + scale[:, None])
    return x if shift is None else x + shift[:, None]


class Rope(nn.Module):
    """Rows turn the first half of a head, columns the second."""

    def __init__(self, head_dim, grid):
        super().__init__()
        half = head_dim // 2
        frequencies = 1.0 / 10000 ** (torch.arange(0, half, 2) / half)
        angles = (torch.arange(grid)[:, None] * frequencies).repeat_interleave(2, dim=1)
        rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
        angles = torch.cat([rows, columns], dim=-1).reshape(grid * grid, head_dim)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x):
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        return x * self.cos + torch.stack([-odd, even], dim=-1).flatten(-2) * self.sin


class Attention(nn.Module):
    def __init__(self, dim, heads, qk_norm, rms):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        head_norm = (lambda: RmsNorm(dim // heads)) if rms else (lambda: nn.LayerNorm(dim // heads))
        self.q_norm, self.k_norm = (head_norm() if qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x, rope):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q), rope(k)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SwiGlu(nn.Module):
    def __init__(self, dim):
        super().__init__()
        hidden = int(2 / 3 * 4 * dim)
        self.w12, self.w3 = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class GeluMlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, dim, heads, switches):
        super().__init__()
        rms = switches["use_rmsnorm"]
        self.parts = 4 if switches["wo_shift"] else 6
        self.norm1, self.norm2 = norm(dim, rms), norm(dim, rms)
        self.attn = Attention(dim, heads, switches["use_qknorm"], rms)
        self.mlp = SwiGlu(dim) if switches["use_swiglu"] else GeluMlp(dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, self.parts * dim))

    def forward(self, x, c, rope):
        parts = self.adaLN_modulation(c).chunk(self.parts, dim=1)
        if self.parts == 4:
            (scale1, gate1, scale2, gate2), shift1, shift2 = parts, None, None
        else:
            shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + gate1[:, None] * self.attn(modulate(self.norm1(x), shift1, scale1), rope)
        return x + gate2[:, None] * self.mlp(modulate(self.norm2(x), shift2, scale2))


class FinalLayer(nn.Module):
    def __init__(self, dim, outputs, rms):
        super().__init__()
        self.norm_final, self.linear = norm(dim, rms), nn.Linear(dim, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x, c):
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class TimestepEmbedder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t):
        frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angles = t[:, None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class LightningDit(nn.Module):
    def __init__(self, shape):
        super().__init__()
        dim, grid, self.patch = shape["hidden_size"], shape["input_size"] // shape["patch_size"], shape["patch_size"]
        self.grid, self.channels = grid, shape["in_channels"]
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(self.channels, dim, self.patch, stride=self.patch)})
        self.t_embedder = TimestepEmbedder(dim)
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(shape["num_classes"] + 1, dim)})
        self.register_buffer("pos_embed", positions(dim, grid), persistent=False)
        self.rope = Rope(dim // shape["num_heads"], grid) if shape["use_rope"] else None
        self.blocks = nn.ModuleList(Block(dim, shape["num_heads"], shape) for _ in range(shape["depth"]))
        self.final_layer = FinalLayer(dim, self.patch**2 * self.channels, shape["use_rmsnorm"])

    def forward(self, x, t, y):
        tokens = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder["embedding_table"](y)
        for block in self.blocks:
            tokens = block(tokens, c, self.rope)
        out = self.final_layer(tokens, c).unflatten(1, (self.grid, self.grid)).unflatten(3, (self.patch, self.patch, -1))
        return out.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def positions(dim, grid):
    """Sines and cosines of a patch's column, then of its row."""
    omega = 10000 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * omega
    one = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns, rows = one[None].expand(grid, -1, -1), one[:, None].expand(-1, grid, -1)
    return torch.cat([columns, rows], dim=-1).reshape(1, grid * grid, dim).float()


def losses(model, x0, x1, t, y):
    """Squared error and direction, sample by sample, and the prediction."""
    at = t[:, None, None, None]
    target = x1 - x0
    pred = model(at * x1 + (1 - at) * x0, t, y)
    return ((pred - target) ** 2).mean(dim=(1, 2, 3)), (1 - F.cosine_similarity(pred, target, dim=1)).mean(dim=(1, 2)), pred


class Training:
    def __init__(self, model, shape, batch):
        self.model, self.batch = model, batch
        self.latents = torch.randn(batch, shape["in_channels"], shape["input_size"], shape["input_size"])
        self.labels, self.null = torch.randint(shape["num_classes"], (batch,)), shape["num_classes"]
        self.parameters = list(model.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=2e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def step(self):
        t = torch.sigmoid(torch.randn(self.batch))
        y = torch.where(torch.rand(self.batch) < 0.1, self.null, self.labels)
        mse, cos, _ = losses(self.model, torch.randn_like(self.latents), self.latents, t, y)
        loss = mse.mean() + cos.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - 0.9999)
        return loss.item()


class Sampling:
    def __init__(self, model, shape, batch, points):
        self.model, self.batch, self.points, self.shape = model, batch, points, shape

    @torch.no_grad()
    def step(self):
        shape, shift, start, scale = self.shape, 0.3, 0.11, 4.0
        x = torch.randn(self.batch, shape["in_channels"], shape["input_size"], shape["input_size"])
        x = torch.cat([x, x])
        y = torch.randint(shape["num_classes"], (self.batch,))
        y = torch.cat([y, torch.full_like(y, shape["num_classes"])])
        times = torch.linspace(0, 1, self.points)
        times = shift * times / (1 + (shift - 1) * times)
        for t, after in zip(times, times[1:]):
            half = x[: self.batch]
            out = self.model(torch.cat([half, half]), t.expand(len(x)), y)
            cond, uncond = out[:, :3].chunk(2)
            guided = uncond + scale * (cond - uncond) if t >= start else cond
            x = x + (after - t) * torch.cat([torch.cat([guided, guided]), out[:, 3:]], dim=1)
        return x[0, 0, 0, 0].item()


def measure(shape, args, mode):
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    # What Python and torch take before there is a model; `peak_growth_bytes` is what comes on top.
    before = peak_bytes()
    model = LightningDit(shape)
    if mode == "compile":
        model.compile()
    work = Sampling(model, shape, args.batch, args.points) if args.sample else Training(model, shape, args.batch)
    times = times_of(work.step, args.warmup, args.steps)
    return {
        "mode": mode,
        "median_s": statistics.median(times),
        "min_s": min(times),
        "steps": args.steps,
        "peak_bytes": peak_bytes(),
        "peak_growth_bytes": peak_bytes() - before,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def verify(path):
    description, golden = load_golden(path)
    model = LightningDit(description["config"])
    rules, seed = description["fill"], description["fill_seed"]
    named = dict(model.named_parameters())
    assert set(named) == set(rules), set(named) ^ set(rules)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(fill(name, seed, parameter.shape, *rules[name]))
    x0, x1 = golden["x0"], golden["x1"]
    mse, cos, pred = losses(model, x0, x1, golden["t"], golden["y_train"])
    (mse.mean() + cos.mean()).backward()
    found = {"out": model(golden["x"], golden["t"], golden["y"]), "pred": pred}
    found |= {"mse_per_sample": mse, "cos_per_sample": cos}
    found |= {f"grad.{name}": parameter.grad for name, parameter in named.items()}
    print(json.dumps(errors(found, golden, description)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--mode", choices=["eager", "compile", "both"], default="both")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--points", type=int, default=11, help="of the time grid, one more than there are steps")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verify", metavar="GOLDEN")
    args = parser.parse_args()
    if args.verify:
        return verify(args.verify)
    preset = dict(PRESETS[args.preset])
    batch = preset.pop("batch")
    args.batch = args.batch or batch
    shape = LATENTS | SWITCHES | preset
    if args.mode != "both":
        return print(json.dumps(measure(shape, args, args.mode)))

    def run(mode):
        # Of options given twice the last one counts.
        command = [sys.executable, *sys.argv, "--mode", mode]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    line = {"peer": f"torch {torch.__version__}", "preset": args.preset, "threads": args.threads, "batch": args.batch}
    print(json.dumps(line | {mode: run(mode) for mode in ("eager", "compile")}))


if __name__ == "__main__":
    main()
