"""One VA-VAE training step in PyTorch, timed: the peer of `vf-engine train-vae`.

    python bench/peers/vae_step.py --preset small [--steps 5] [--layout both]

The step: posterior sample, reconstruction, L1 summed over pixels / batch + 1e-6 KL + the VF loss with its adaptive
weight (two torch.autograd.grad calls for the gradient norms at `encoder.conv_out.weight`, as the reference
implementation takes them), backward, Adam(1e-4, 0.5, 0.9). Features are random, images too: neither changes the work.
Each memory layout runs in a process of its own, so that the peak memory is that layout's. Prints one line of JSON.

Measure on a quiet machine: PyTorch's threads wait for each other spinning, so other work slows it by far more than its
share.

    python bench/peers/vae_step.py --verify vae.safetensors

compares the model with a golden set of kind `vae`, stored gradients included. Done with the full set (seed 2203):
reconstruction within 3.5e-6 of the largest golden value, losses within 1.5e-7, the worst of 243 gradients within 1.2e-5.

Environment: Python 3.11 or later; pip install torch==2.13.* safetensors numpy.
"""

import argparse
import json
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from peer import errors, fill, load_golden, peak_bytes, times_of
from torch import nn

# As in configs/; `batch` of `small` is the benchmark's own.
PRESETS = {
    "demo": dict(ch=32, ch_mult=[1, 1, 2, 2, 4], blocks=1, z=16, resolution=64, batch=4, vf_dim=384),
    "small": dict(ch=64, ch_mult=[1, 1, 2, 2, 4], blocks=2, z=32, resolution=128, batch=2, vf_dim=384),
}


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        # (B, C, H, W) to one head over H·W tokens.
        q, k, v = (conv(h).flatten(2).transpose(1, 2)[:, None] for conv in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(mixed[:, 0].transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """A level's residual blocks, each followed by attention where the level has it."""

    def __init__(self, inputs, outputs, blocks, attention):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(outputs) for _ in range(blocks if attention else 0))

    def forward(self, x):
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return x


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.block_1, self.attn_1 = ResnetBlock(channels, channels), AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, ch, ch_mult, blocks, z):
        super().__init__()
        widths = [ch * mult for mult in ch_mult]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        # Attention only where the reference's presets have it: at the lowest level.
        self.down = nn.ModuleList(
            Level(widths[max(i - 1, 0)], width, blocks, i == last) for i, width in enumerate(widths)
        )
        for i in range(last):
            self.down[i].downsample = Downsample(widths[i])
        self.mid = Middle(widths[last])
        self.norm_out, self.conv_out = norm(widths[last]), nn.Conv2d(widths[last], 2 * z, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, "downsample"):
                x = level.downsample(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, ch, ch_mult, blocks, z):
        super().__init__()
        widths = [ch * mult for mult in ch_mult]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(z, widths[last], 3, padding=1)
        self.mid = Middle(widths[last])
        # Stored ascending, run descending.
        self.up = nn.ModuleList(
            Level(widths[min(i + 1, last)], width, blocks + 1, i == last) for i, width in enumerate(widths)
        )
        for i in range(1, last + 1):
            self.up[i].upsample = Upsample(widths[i])
        self.norm_out, self.conv_out = norm(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z):
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VaVae(nn.Module):
    def __init__(self, ch, ch_mult, blocks, z, vf_dim):
        super().__init__()
        self.encoder, self.decoder = Encoder(ch, ch_mult, blocks, z), Decoder(ch, ch_mult, blocks, z)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)
        self.linear_proj = nn.Conv2d(z, vf_dim, 1, bias=False)

    def forward(self, x, noise):
        moments = self.quant_conv(self.encoder(x))
        mean, logvar = moments.chunk(2, dim=1)
        logvar = logvar.clamp(-30.0, 20.0)
        z = mean + torch.exp(0.5 * logvar) * noise
        kl = 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar).sum(dim=(1, 2, 3))
        return moments, z, kl.mean(), self.decoder(self.post_quant_conv(z))


def vf_loss(projected, features, distmat_margin, cos_margin):
    """Of projected latents and features (B, C, H, W)."""
    z, f = projected.flatten(2), features.flatten(2)
    z_unit, f_unit = F.normalize(z, dim=1), F.normalize(f, dim=1)
    z_cos = torch.einsum("bci,bcj->bij", z_unit, z_unit)
    f_cos = torch.einsum("bci,bcj->bij", f_unit, f_unit)
    mdms = F.relu((z_cos - f_cos).abs() - distmat_margin).mean()
    mcos = F.relu(1.0 - cos_margin - F.cosine_similarity(f, z, dim=1)).mean()
    return mdms + mcos


def objective(model, x, noise, features, distmat_margin, cos_margin):
    moments, z, kl, rec = model(x, noise)
    nll = (x - rec).abs().sum() / x.shape[0]
    return moments, z, rec, nll, kl, vf_loss(model.linear_proj(z), features, distmat_margin, cos_margin)


def train_step(model, optimizer, x, features, vf_weight):
    down = 2 ** (len(model.encoder.down) - 1)
    shape = (x.shape[0], model.post_quant_conv.in_channels, x.shape[2] // down, x.shape[3] // down)
    *_, nll, kl, vf = objective(model, x, torch.randn(shape), features, 0.25, 0.5)
    last = model.encoder.conv_out.weight
    (nll_grad,) = torch.autograd.grad(nll, last, retain_graph=True)
    (vf_grad,) = torch.autograd.grad(vf, last, retain_graph=True)
    adaptive = (nll_grad.norm() / (vf_grad.norm() + 1e-4)).clamp(0.0, 1e8).detach() * vf_weight
    loss = nll + 1e-6 * kl + adaptive * vf
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def measure(settings, layout, steps, warmup, threads):
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    # What Python and torch take before there is a model; `peak_growth_bytes` is what comes on top.
    before = peak_bytes()
    size, batch = settings["resolution"], settings["batch"]
    model = VaVae(*(settings[key] for key in ("ch", "ch_mult", "blocks", "z", "vf_dim")))
    grid = size // 2 ** (len(settings["ch_mult"]) - 1)
    x = torch.rand(batch, 3, size, size) * 2.0 - 1.0
    features = torch.randn(batch, settings["vf_dim"], grid, grid)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        features = features.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.5, 0.9))
    times = times_of(lambda: train_step(model, optimizer, x, features, 0.1), warmup, steps)
    return {
        "layout": layout,
        "median_s": statistics.median(times),
        "min_s": min(times),
        "steps": steps,
        "peak_bytes": peak_bytes(),
        "peak_growth_bytes": peak_bytes() - before,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def verify(path):
    description, golden = load_golden(path)
    config = description["config"]
    model = VaVae(config["ch"], config["ch_mult"], config["nrb"], config["z"], config["vf_dim"])
    rules, seed = description["fill"], description["fill_seed"]
    named = dict(model.named_parameters())
    assert set(named) == set(rules), set(named) ^ set(rules)
    with torch.no_grad():
        for name, parameter in named.items():
            stored = golden.get(f"param.{name}")
            parameter.copy_(fill(name, seed, parameter.shape, *rules[name]) if stored is None else stored)
    margins = config["distmat_margin"], config["cos_margin"]
    moments, z, rec, nll, kl, vf = objective(model, golden["x"], golden["noise"], golden["feats"], *margins)
    total = nll + description["kl_weight"] * kl + config["vf_weight"] * vf
    total.backward()
    found = {"moments": moments, "z": z, "rec": rec, "nll": nll, "kl": kl, "vf": vf, "total": total}
    found |= {f"grad.{name}": parameter.grad for name, parameter in named.items()}
    print(json.dumps(errors(found, golden, description)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="demo")
    parser.add_argument("--ch", type=int)
    parser.add_argument("--ch-mult", type=lambda text: [int(mult) for mult in text.split(",")])
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--z", type=int)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--vf-dim", type=int)
    parser.add_argument("--layout", choices=["contiguous", "channels_last", "both"], default="both")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verify", metavar="GOLDEN")
    args = parser.parse_args()
    if args.verify:
        return verify(args.verify)
    settings = {key: getattr(args, key) or value for key, value in PRESETS[args.preset].items()}
    if args.layout != "both":
        return print(json.dumps(measure(settings, args.layout, args.steps, args.warmup, args.threads)))

    def run(layout):
        # Of options given twice the last one counts.
        command = [sys.executable, *sys.argv, "--layout", layout]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    runs = [run("contiguous"), run("channels_last")]
    fastest = min(runs, key=lambda found: found["median_s"])
    line = {"peer": f"torch {torch.__version__}", "preset": args.preset, "threads": args.threads}
    line |= {"settings": settings, "fastest": fastest["layout"], "median_s": fastest["median_s"]}
    line |= {"images_per_s": settings["batch"] / fastest["median_s"]}
    line |= {key: fastest[key] for key in ("peak_bytes", "peak_growth_bytes")}
    print(json.dumps(line | {"runs": runs}))


if __name__ == "__main__":
    main()
