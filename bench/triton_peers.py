"""Our kernels beside Triton's on the software GPU, at the same shapes: python bench/triton_peers.py VF_ENGINE_BINARY LIBSOFTGPU

Needs triton==3.6.0 and numpy, and no GPU. Triton's kernels are those of softgpu/tests/third_party/kernels.py (the tutorials' layer norm,
matmul, fused attention and softmax), compiled for sm_80; of several tile sizes the one with the least roofline time counts. Ours are counted
by `vf-engine bench kernels --device sim`, in the same run and by the same library.
"""

import ctypes
import itertools
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "softgpu/tests/third_party"))

import kernels  # noqa: E402
import numpy as np  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

BF16, F32 = "*bf16", "*fp32"


class Gpu:
    """The software GPU through the driver's interface."""

    def __init__(self, library):
        self.cuda = ctypes.CDLL(library)
        self.cuda.softgpu_take_launches.restype = ctypes.c_void_p
        self.cuda.softgpu_free.argtypes = [ctypes.c_void_p]
        context = ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        status = getattr(self.cuda, name)(*arguments)
        if status:
            raise SystemExit(f"{name}: error {status}")

    def upload(self, array):
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(array.nbytes))
        self.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return address

    def launches(self):
        text = self.cuda.softgpu_take_launches()
        launches = json.loads(ctypes.string_at(text))
        self.cuda.softgpu_free(text)
        return launches

    def run(self, compiled, grid, arguments):
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), compiled.asm["ptx"].encode() + b"\0")
        self.call("cuModuleGetFunction", ctypes.byref(function), module, compiled.metadata.name.encode())
        shared = compiled.metadata.shared
        if shared > 48 << 10:
            self.call("cuFuncSetAttribute", function, 8, shared)
        # The compiler adds pointers to memory of its own, which these kernels do not ask for.
        text = compiled.asm["ptx"]
        declared = text[: text.index(")")].count(".param ")
        arguments = list(arguments) + [ctypes.c_uint64(0)] * (declared - len(arguments))
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        self.launches()
        self.call("cuLaunchKernel", function, *grid, 32 * compiled.metadata.num_warps, 1, 1, shared, None, pointers, None)
        self.call("cuCtxSynchronize")
        return self.launches()[-1]


def compile(function, kinds, constants, num_warps, num_stages):
    names = list(function.arg_names)
    signature = {n: "constexpr" if n in constants else kinds[n].removesuffix("/16") for n in names}
    divisible = [n for n in names if n not in constants and (kinds[n][0] == "*" or kinds[n].endswith("/16"))]
    source = ASTSource(
        fn=function,
        signature=signature,
        constexprs={(names.index(n),): v for n, v in constants.items()},
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in divisible},
    )
    return triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": num_warps, "num_stages": num_stages})


def bf16(*shape):
    """Random numbers of bf16, as their bits."""
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def zeros(kind, *shape):
    return np.zeros(shape, {BF16: np.uint16, F32: np.float32, "i32": np.int32}[kind])


def i32(value):
    return ctypes.c_int32(value)


def layer_norm(gpu, rows, columns):
    x, y, dy, dx = (gpu.upload(bf16(rows, columns)) for _ in range(4))
    weight, bias = (gpu.upload(np.ones(columns, np.float32)) for _ in range(2))
    mean, rstd = (gpu.upload(zeros(F32, rows)) for _ in range(2))
    kinds = {"y": BF16, "x": BF16, "weight": F32, "bias": F32, "mean": F32, "rstd": F32, "stride": "i32/16", "columns": "i32/16", "eps": "fp32"}
    kinds |= {"dx": BF16, "dy": BF16, "dweight": F32, "dbias": F32, "locks": "*i32"}
    size, eps = [i32(columns), i32(columns)], ctypes.c_float(1e-6)
    # As the tutorial has it: a block as long as a row, 256 groups of rows up to 1,024 columns.
    forward = [gpu.run(compile(kernels.layer_norm_forward, kinds, {"BLOCK": columns}, warps, 3), (rows, 1, 1),
                       [y, x, weight, bias, mean, rstd, *size, eps]) for warps in (4, 8)]
    groups = 256
    dweight, dbias = (gpu.upload(zeros(F32, groups, columns)) for _ in range(2))
    locks = lambda: gpu.upload(zeros("i32", 2 * groups))  # noqa: E731
    backward = [gpu.run(compile(kernels.layer_norm_backward, kinds, {"GROUPS": groups, "BLOCK": columns}, warps, 3), (rows, 1, 1),
                        [dx, dy, dweight, dbias, x, weight, mean, rstd, locks(), *size]) for warps in (4, 8)]
    sums = {n: F32 for n in ["dweight", "dbias", "dweight_groups", "dbias_groups"]} | {"groups": "i32", "columns": "i32"}
    total = [gpu.upload(zeros(F32, columns)) for _ in range(2)]
    second = gpu.run(compile(kernels.layer_norm_backward_sums, sums, {"ROWS": 32, "BLOCK": 128}, 4, 3), (-(-columns // 128), 1, 1),
                     [*total, dweight, dbias, i32(groups), i32(columns)])
    return [("layer_norm forward", [best(forward)]), ("layer_norm backward", [best(backward), second])]


def matmul(gpu, m, n, k):
    a, b, c = gpu.upload(bf16(m, k)), gpu.upload(bf16(k, n)), gpu.upload(bf16(m, n))
    kinds = {"a": BF16, "b": BF16, "c": BF16} | {x: "i32/16" for x in ["m", "n", "k", "stride_a", "stride_b", "stride_c"]}
    runs = []
    for (block_m, block_n, block_k), (warps, stages) in itertools.product([(128, 128, 32), (128, 64, 32), (64, 64, 32), (64, 128, 64)], [(4, 4)]):
        tiles = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "GROUP": 8}
        compiled = compile(kernels.matmul, kinds, tiles, warps, stages)
        runs.append(gpu.run(compiled, (-(-m // block_m) * -(-n // block_n), 1, 1), [c, a, b, *map(i32, [m, n, k, k, n, n])]))
    return [("linear forward", [best(runs)])]


def attention(gpu, heads, tokens, width):
    out, q, k, v = (gpu.upload(bf16(heads, tokens, width)) for _ in range(4))
    lse = gpu.upload(zeros(F32, heads, tokens))
    kinds = {n: BF16 for n in ["out", "q", "k", "v"]} | {"lse": F32, "scale": "fp32", "queries": "i32/16", "keys": "i32/16"}
    kinds |= {"stride_head_q": "i32/16", "stride_head_k": "i32/16"}
    arguments = [out, lse, q, k, v, ctypes.c_float(width**-0.5), i32(tokens), i32(tokens), i32(tokens * width), i32(tokens * width)]
    runs = []
    for block_m, block_n, warps in [(128, 64, 4), (128, 64, 8), (64, 64, 4), (128, 32, 4)]:
        constants = {"CAUSAL": False, "HEAD": width, "BLOCK_M": block_m, "BLOCK_N": block_n}
        compiled = compile(kernels.attention_forward, kinds, constants, warps, 3)
        runs.append(gpu.run(compiled, (-(-tokens // block_m), heads, 1), arguments))
    return [("attention forward", [best(runs)])]


def best(launches):
    return min(launches, key=lambda launch: launch["roofline"]["time_s"])


def softmax(gpu, rows, columns):
    x, y = (gpu.upload(np.ones((rows, columns), np.float32)) for _ in range(2))
    kinds = {"y": F32, "x": F32, "stride_y": "i32/16", "stride_x": "i32/16", "columns": "i32/16"}
    compiled = compile(kernels.softmax_rows, kinds, {"BLOCK": columns}, 4, 3)
    return [("softmax forward (f32)", [gpu.run(compiled, (rows, 1, 1), [y, x, i32(columns), i32(columns), i32(columns)])])]


def numbers(launches):
    """Warp instructions, unique sectors, cycles lost to bank conflicts, microseconds."""
    c = [launch["counters"] for launch in launches]
    total = lambda *keys: sum(counters[key] for counters in c for key in keys)  # noqa: E731
    seconds = sum(launch["roofline"]["time_s"] for launch in launches)
    return total("warp_instructions"), total("unique_load_sectors", "unique_store_sectors"), total("bank_conflict_cycles"), 1e6 * seconds


def ours(binary, library, op, label):
    command = [binary, "bench", "kernels", "--device", "sim", "--dtype", "bf16", "--filter", op, "--json"]
    environment = os.environ | {"VF_SOFTGPU": library}
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)["results"]
    rows = [row for row in rows if row["op"] == op and row["label"] == label]
    assert rows, f"bench kernels has no case {label} of {op}"
    sums = {}
    for row in rows:
        part = "backward" if "_bwd" in row["kernel"] or "_sums" in row["kernel"] or "_delta" in row["kernel"] else "forward"
        add = (row["warp_instructions"], row["dram_bytes"] // 32, row["bank_conflict_cycles"], 1e6 * row["roofline_s"])
        sums[f"{op} {part}"] = tuple(map(sum, zip(sums.get(f"{op} {part}", (0, 0, 0, 0)), add)))
    return sums


def main(binary, library):
    gpu = Gpu(library)
    theirs = layer_norm(gpu, 4 * 257, 1024) + matmul(gpu, 256, 768, 768) + attention(gpu, 24, 256, 64) + softmax(gpu, 1024, 256)
    mine = ours(binary, library, "layer_norm", "ViT-L/14, 257 tokens, affine") | ours(binary, library, "linear", "DiT-B projection, one image")
    mine |= ours(binary, library, "attention", "DiT-B/1")
    print(f"{'bf16':24} {'':8} {'warp instructions':>18} {'DRAM sectors':>13} {'bank conflicts':>15} {'roofline µs':>12}")
    for name, launches in theirs:
        for whose, values in (("ours", mine.get(name)), ("triton", numbers(launches))):
            if values:
                print(f"{name:24} {whose:8} {values[0]:18,} {values[1]:13,} {values[2]:15,} {values[3]:12.2f}")


main(*sys.argv[1:])
