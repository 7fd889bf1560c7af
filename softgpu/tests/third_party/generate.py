"""Compiles the kernels to PTX for sm_80, with no GPU. Needs triton==3.6.0; run in this folder."""

import json
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import kernels


def forget_paths():
    """Line information names files as if they lay at the root: the same text from every machine."""
    for module, path in [(kernels, "/third_party/kernels.py"), (triton.language.standard, "/triton/standard.py"),
                         (triton.language.random, "/triton/random.py")]:
        for function in vars(module).values():
            if isinstance(function, triton.JITFunction):
                function.fn.__code__ = function.fn.__code__.replace(co_filename=path)


def compile(name, function, parameters, constants, num_warps=4, num_stages=3):
    """Parameters are `name: kind`; a kind that ends in `/16` is known to be divisible by 16, as pointers always are."""
    names = list(function.arg_names)
    kinds = [parameters[n] for n in names if n not in constants]
    signature = {n: "constexpr" if n in constants else parameters[n].removesuffix("/16") for n in names}
    divisible = [n for n in names if n not in constants and (parameters[n][0] == "*" or parameters[n].endswith("/16"))]
    attributes = {(names.index(n),): [["tt.divisibility", 16]] for n in divisible}
    source = ASTSource(fn=function, signature=signature, constexprs={(names.index(n),): v for n, v in constants.items()}, attrs=attributes)
    options = {"num_warps": num_warps, "num_stages": num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options)
    ptx = compiled.asm["ptx"]
    lines = [re.sub(r"\s*//.*", "", line) for line in ptx.splitlines()]
    lines = [line for line in lines if line.strip()]
    with open(f"{name}.ptx", "w") as file:
        file.write("\n".join(lines) + "\n")
    names = [n for n in names if n not in constants]
    declared = len(re.findall(r"\.param ", ptx[: ptx.index(")")]))
    # The compiler adds pointers to memory of its own, which these kernels do not ask for.
    names += [f"scratch_{i}" for i in range(declared - len(names))]
    kinds = [kind.removesuffix("/16") for kind in kinds] + ["null"] * (declared - len(kinds))
    assert compiled.metadata.global_scratch_size == 0
    about = {
        "kernel": compiled.metadata.name,
        "compiler": f"triton {triton.__version__}",
        "shared_bytes": compiled.metadata.shared,
        "num_warps": compiled.metadata.num_warps,
        "parameters": [{"name": n, "kind": k} for n, k in zip(names, kinds, strict=True)],
        "constants": constants,
    }
    with open(f"{name}.json", "w") as file:
        json.dump(about, file, indent=2)
        file.write("\n")
    print(f"{name}: {len(ptx)} bytes, {about['shared_bytes']} of shared memory")


def main():
    forget_paths()
    half = {"f16": "*fp16", "bf16": "*bf16", "f32": "*fp32"}
    rows = {"y": "*fp32", "x": "*fp32", "stride_y": "i32", "stride_x": "i32", "columns": "i32"}
    compile("softmax", kernels.softmax_rows, rows, {"BLOCK": 1024})
    norm = {"y": "*fp16", "x": "*fp16", "weight": "*fp16", "bias": "*fp16", "mean": "*fp32", "rstd": "*fp32"}
    norm |= {"stride": "i32", "columns": "i32", "eps": "fp32"}
    compile("layer_norm_forward", kernels.layer_norm_forward, norm, {"BLOCK": 256})
    norm |= {"dx": "*fp16", "dy": "*fp16", "dweight": "*fp32", "dbias": "*fp32", "locks": "*i32"}
    compile("layer_norm_backward", kernels.layer_norm_backward, norm, {"GROUPS": 3, "BLOCK": 256})
    sums = {"dweight": "*fp32", "dbias": "*fp32", "dweight_groups": "*fp32", "dbias_groups": "*fp32", "groups": "i32", "columns": "i32"}
    compile("layer_norm_backward_sums", kernels.layer_norm_backward_sums, sums, {"ROWS": 8, "BLOCK": 64})
    for kind, tiles in {"f16": (64, 64, 32), "bf16": (128, 64, 64), "f32": (32, 32, 32)}.items():
        product = {"a": half[kind], "b": half[kind], "c": half[kind], "m": "i32", "n": "i32", "k": "i32/16"}
        product |= {"stride_a": "i32/16", "stride_b": "i32/16", "stride_c": "i32"}
        block_m, block_n, block_k = tiles
        constants = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "GROUP": 2}
        compile(f"matmul_{kind}", kernels.matmul, product, constants)
    for causal in [False, True]:
        kind = "*bf16" if causal else "*fp16"
        attention = {n: kind for n in ["out", "q", "k", "v"]} | {"lse": "*fp32", "scale": "fp32", "queries": "i32", "keys": "i32"}
        attention |= {"stride_head_q": "i32/16", "stride_head_k": "i32/16"}
        constants = {"CAUSAL": causal, "HEAD": 64, "BLOCK_M": 64, "BLOCK_N": 32}
        compile("attention_causal" if causal else "attention", kernels.attention_forward, attention, constants)
    compile("running_sums", kernels.running_sums, {"sums": "*fp32", "order": "*fp32", "x": "*fp32", "columns": "i32"}, {"BLOCK": 256})
    compile("dropout", kernels.dropout, {"y": "*fp32", "x": "*fp32", "n": "i32", "p": "fp32", "seed": "i32"}, {"BLOCK": 512})


if __name__ == "__main__":
    main()
