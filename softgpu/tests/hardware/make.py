"""Runs every opcode on a real GPU and keeps what it answers: python make.py --out FOLDER (needs numpy and an NVIDIA driver, sm_90).

Writes `<family>.ptx`, one small entry per instruction, and `answers.bin`: for each class of operands its 256 × 3 64-bit words, then for
each entry, in the order of index.json, one 64-bit word per thread. `--list` only writes the PTX, for ptxas to check.
"""

import argparse
import ctypes
import itertools
import json
import pathlib

import numpy as np

COUNT = 256
TYPES = {  # register declaration, width in bits, class of operands
    **{t: (f".{t}", int(t[1:]), "int") for t in ("u16", "s16", "b16", "u32", "s32", "b32", "u64", "s64", "b64")},
    "u8": (".u16", 8, "int"), "s8": (".s16", 8, "int"),
    "f32": (".f32", 32, "f32"), "f64": (".f64", 64, "f64"),
    "f16": (".b16", 16, "f16"), "bf16": (".b16", 16, "bf16"), "f16x2": (".b32", 32, "f16x2"), "bf16x2": (".b32", 32, "bf16x2"),
    "tf32": (".b32", 32, "f32"), "pred": (".pred", 1, "int"), "u16x2": (".b32", 32, "int"), "s16x2": (".b32", 32, "int"),
}


def operands(rng):
    """256 triples of each class: edge cases against each other, then random bits, then ordinary values."""
    def build(edges, ordinary, bits):
        edges = np.array(edges, dtype=np.uint64)
        pairs = np.array(list(itertools.product(edges, edges)), dtype=np.uint64)
        pairs = pairs[rng.permutation(len(pairs))[:128]]
        first = np.stack([pairs[:, 0], pairs[:, 1], rng.permutation(pairs[:, 0])], 1)
        noise = rng.integers(0, 1 << bits, (64, 3), dtype=np.uint64, endpoint=False) if bits < 64 else rng.integers(0, 1 << 63, (64, 3), dtype=np.uint64) * 2 + rng.integers(0, 2, (64, 3), dtype=np.uint64)
        rest = ordinary(COUNT - len(first) - 64)
        return np.concatenate([first, noise, rest]).astype(np.uint64)

    def floats(values, dtype, word):
        return np.array(values, dtype=dtype).view(word).astype(np.uint64)

    def normal(n, scale=4.0):
        return rng.normal(0, 1, (n, 3)) * np.exp(rng.normal(0, scale, (n, 3)))

    f32 = [0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800001, 0x4B000000, 0x4F000000, 0xCF000000, 0x5F000000, 0x3F000000, 0x40200000, 0x477FE000, 0x33000000, 0x477FF000]
    f64 = list(floats([0, -0.0, 1, -1, np.inf, -np.inf, 5e-324, -2e-308, 2.3e-308, 1.7e308, 2**31, -2**31, 2**63, 0.5, 2.5, -3.5, 65504, 1e-8], np.float64, np.uint64)) + [0x7FF8000000000000]
    f16 = [0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 1, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C01, 0x3800, 0x4100, 0x3555]
    bf16 = [0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 1, 0x807F, 0x0080, 0x7F7F, 0xFF7F, 0x3F81, 0x3F00, 0x4020, 0x3EAB]
    ints = [0, 1, 2, 0xFF, 0x7F, 0x80, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 31, 32, 33, 63, 64]
    to_f32 = lambda x: x.astype(np.float32).view(np.uint32)
    to_bf16 = lambda x: (to_f32(x) >> 16).astype(np.uint64)
    to_f16 = lambda x: np.clip(x, -6e4, 6e4).astype(np.float16).view(np.uint16).astype(np.uint64)
    classes = {
        "int": build(ints, lambda n: rng.integers(0, 1 << 63, (n, 3), dtype=np.uint64) >> rng.integers(0, 64, (n, 3), dtype=np.uint64), 64),
        "f32": build(f32, lambda n: to_f32(normal(n)).astype(np.uint64), 32),
        "f64": build(f64, lambda n: normal(n).view(np.uint64), 64),
        "f16": build(f16, lambda n: to_f16(normal(n, 2)), 16),
        "bf16": build(bf16, lambda n: to_bf16(normal(n)), 16),
    }
    for half in ("f16", "bf16"):
        low = classes[half]
        classes[half + "x2"] = low | np.roll(low, 77, 0) << np.uint64(16)
    shifts = classes["int"].copy()
    shifts[:, 1:] = np.where(rng.random((COUNT, 2)) < 0.85, rng.integers(0, 72, (COUNT, 2), dtype=np.uint64), shifts[:, 1:])
    classes["shift"] = shifts
    return classes


class Family:
    def __init__(self, name, version="8.0", target="sm_80"):
        self.name, self.version, self.target, self.entries = name, version, target, []

    def add(self, opcode, result, sources, operand_class=None, extra="", body=None):
        """`opcode d, a, b, c`; `extra` follows the operands."""
        self.entries.append((opcode, result, sources, operand_class or TYPES[sources[0]][2], extra, body))

    def text(self):
        parts = [f".version {self.version}\n.target {self.target}\n.address_size 64\n"]
        parts += [self.entry(n, *entry) for n, entry in enumerate(self.entries)]
        return "".join(parts)

    def entry(self, n, opcode, result, sources, _class, extra, body):
        lines, names = [], []
        for name, ty in zip("abc", sources):
            declaration, bits, _ = TYPES[ty]
            lines.append(f".reg {declaration} %{name};")
            names.append(f"%{name}")
            if ty == "pred":
                lines.append(f"and.b64 %t, %{name}w, 1; setp.ne.b64 %{name}, %t, 0;")
            elif bits == 64:
                lines.append(f"mov.b64 %{name}, %{name}w;")
            elif bits == 32:
                lines.append(f"cvt.u32.u64 %w, %{name}w; mov.b32 %{name}, %w;")
            else:
                lines.append(f"cvt.u16.u64 %h, %{name}w; mov.b16 %{name}, %h;")
        declaration, bits, _ = TYPES[result]
        lines.append(f".reg {declaration} %d;")
        lines.append(body if body else f"{opcode} %d, {', '.join(names)}{extra};")
        if result == "pred":
            lines.append("selp.u64 %t, 1, 0, %d;")
        elif bits == 64:
            lines.append("mov.b64 %t, %d;")
        elif bits == 32:
            lines.append("mov.b32 %w, %d; cvt.u64.u32 %t, %w;")
        else:
            lines.append("mov.b16 %h, %d; cvt.u64.u16 %t, %h;")
        body = "\n  ".join(lines)
        return f"""// {opcode}
.visible .entry k{n}(.param .u64 from, .param .u64 to)
{{
  .reg .u64 %p, %q, %t, %aw, %bw, %cw;
  .reg .u32 %i, %w;
  .reg .u16 %h;
  ld.param.u64 %p, [from];
  ld.param.u64 %q, [to];
  mov.u32 %i, %tid.x;
  mul.wide.u32 %t, %i, 24;
  add.u64 %p, %p, %t;
  ld.global.u64 %aw, [%p];
  ld.global.u64 %bw, [%p+8];
  ld.global.u64 %cw, [%p+16];
  mul.wide.u32 %t, %i, 8;
  add.u64 %q, %q, %t;
  {body}
  st.global.u64 [%q], %t;
  ret;
}}
"""


def families():
    later = Family("sm90", target="sm_90")
    integer = Family("integer")
    for t in ("u16", "s16", "u32", "s32", "u64", "s64"):
        for op in ("add", "sub", "mul.lo", "mul.hi", "div", "rem", "min", "max"):
            integer.add(f"{op}.{t}", t, [t, t])
        for op in ("mad.lo", "mad.hi", "sad"):
            integer.add(f"{op}.{t}", t, [t, t, t])
        wide = {"16": "32", "32": "64"}.get(t[1:])
        if wide:
            integer.add(f"mul.wide.{t}", t[0] + wide, [t, t])
            integer.add(f"mad.wide.{t}", t[0] + wide, [t, t, t[0] + wide])
        if t[0] == "s":
            integer.add(f"abs.{t}", t, [t])
            integer.add(f"neg.{t}", t, [t])
    for t in ("u32", "s32"):
        for part in ("lo", "hi"):
            integer.add(f"mul24.{part}.{t}", t, [t, t])
        integer.add(f"mad24.lo.{t}", t, [t, t, t])
        for u in ("u32", "s32"):
            integer.add(f"dp4a.{t}.{u}", "s32" if "s32" in (t, u) else "u32", [t, u, "s32" if "s32" in (t, u) else "u32"])
    integer.add("add.sat.s32", "s32", ["s32", "s32"])
    integer.add("sub.sat.s32", "s32", ["s32", "s32"])
    integer.add("mad.hi.sat.s32", "s32", ["s32", "s32", "s32"])
    for op, carry in (("add", "addc"), ("sub", "subc")):
        for t in ("u32", "u64"):
            integer.add(f"{op}.cc.{t} {carry}.{t}", t, [t, t, t], body=f".reg .{t} %e; {op}.cc.{t} %e, %a, %b; {carry}.{t} %d, %c, 0;")
    for part in ("lo", "hi"):
        for t in ("u32", "s32", "u64"):
            integer.add(f"mad.{part}.cc.{t} addc", t, [t, t, t], body=f".reg .{t} %e; mad.{part}.cc.{t} %e, %a, %b, %c; addc.{t} %d, %e, 0;")
            integer.add(f"add.cc madc.{part}.{t}", t, [t, t, t], body=f".reg .{t} %e; add.cc.{t} %e, %a, %b; madc.{part}.{t} %d, %a, %b, %c;")

    bits = Family("bits")
    for t in ("b16", "b32", "b64"):
        for op in ("and", "or", "xor"):
            bits.add(f"{op}.{t}", t, [t, t])
        bits.add(f"not.{t}", t, [t])
        bits.add(f"cnot.{t}", t, [t])
        bits.add(f"shl.{t}", t, [t, "u32"], "shift")
    for op in ("and", "or", "xor"):
        bits.add(f"{op}.pred", "pred", ["pred", "pred"])
    bits.add("not.pred", "pred", ["pred"])
    for t in ("u16", "s16", "u32", "s32", "u64", "s64"):
        bits.add(f"shr.{t}", t, [t, "u32"], "shift")
    for t in ("u32", "s32", "u64", "s64"):
        bits.add(f"bfe.{t}", t, [t, "u32", "u32"], "shift")
        bits.add(f"bfind.{t}", "u32", [t])
        bits.add(f"bfind.shiftamt.{t}", "u32", [t])
    for t in ("b32", "b64"):
        bits.add(f"brev.{t}", t, [t])
        bits.add(f"popc.{t}", "u32", [t])
        bits.add(f"clz.{t}", "u32", [t])
        bits.add(f"bfi.{t}", t, [t, t], "shift", body=f".reg .u32 %e, %f; cvt.u32.u64 %e, %cw; shr.u64 %cw, %aw, 13; cvt.u32.u64 %f, %cw; and.b32 %f, %f, 63; bfi.{t} %d, %a, %b, %e, %f;")
    for direction in "lr":
        for mode in ("wrap", "clamp"):
            bits.add(f"shf.{direction}.{mode}.b32", "b32", ["b32", "b32", "u32"], "shift", body=f".reg .b32 %e; cvt.u32.u64 %e, %bw; shr.u64 %cw, %aw, 32; cvt.u32.u64 %c, %cw; shf.{direction}.{mode}.b32 %d, %a, %c, %e;")
    for mode in ("", ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16"):
        bits.add(f"prmt.b32{mode}", "b32", ["b32", "b32", "b32"])
    for table in (0x80, 0xFE, 0x96, 0xE8, 0x1B, 0x00, 0xFF, 0x42):
        bits.add(f"lop3.b32 {table:#x}", "b32", ["b32", "b32", "b32"], body=f"lop3.b32 %d, %a, %b, %c, {table};")
    bits.add("fns.b32", "b32", ["b32", "b32", "s32"], "shift")
    for mode in ("clamp", "wrap"):
        bits.add(f"bmsk.{mode}.b32", "b32", ["u32", "u32"], "shift", body=f".reg .u32 %e; cvt.u32.u64 %e, %cw; bmsk.{mode}.b32 %d, %b, %e;")
        for t in ("u32", "s32"):
            bits.add(f"szext.{mode}.{t}", t, [t, "u32"], "shift")
    for t in ("b32", "b64", "f32", "pred"):
        if t != "pred":
            bits.add(f"selp.{t}", t, [t, t, "pred"], "int")
    for t in ("s32", "f32"):
        bits.add(f"slct.u32.{t}", "u32", ["u32", "u32", t], "f32" if t == "f32" else "int")

    floats = Family("float")
    for t in ("f32", "f64"):
        ftz = ("", ".ftz") if t == "f32" else ("",)
        for f in ftz:
            for r in ("rn", "rz", "rm", "rp"):
                for op, n in (("add", 2), ("sub", 2), ("mul", 2), ("fma", 3), ("div", 2), ("rcp", 1), ("sqrt", 1)):
                    floats.add(f"{op}.{r}{f}.{t}", t, [t] * n)
            for op in ("min", "max"):
                floats.add(f"{op}{f}.{t}", t, [t, t])
                if t == "f32":
                    floats.add(f"{op}{f}.NaN.{t}", t, [t, t])
                    later.add(f"{op}{f}.xorsign.abs.{t}", t, [t, t])
            floats.add(f"abs{f}.{t}", t, [t])
            floats.add(f"neg{f}.{t}", t, [t])
            if t == "f32":
                for op, n in (("add", 2), ("sub", 2), ("mul", 2), ("fma.rn", 3)):
                    floats.add(f"{op}{f}.sat.{t}", t, [t] * n)
                for op, n in (("rcp.approx", 1), ("rsqrt.approx", 1), ("sqrt.approx", 1), ("sin.approx", 1), ("cos.approx", 1), ("lg2.approx", 1), ("ex2.approx", 1), ("div.approx", 2), ("div.full", 2)):
                    floats.add(f"{op}{f}.{t}", t, [t] * n)
        floats.add(f"copysign.{t}", t, [t, t])
        for kind in ("finite", "infinite", "number", "notanumber", "normal", "subnormal"):
            floats.add(f"testp.{kind}.{t}", "pred", [t])
    floats.add("tanh.approx.f32", "f32", ["f32"])
    floats.add("rcp.approx.ftz.f64", "f64", ["f64"])
    floats.add("rsqrt.approx.f64", "f64", ["f64"])

    compare = Family("compare")
    ordered = ("eq", "ne", "lt", "le", "gt", "ge")
    for t in ("u16", "s16", "b16", "u32", "s32", "b32", "u64", "s64", "b64"):
        for c in ("eq", "ne") if t[0] == "b" else ordered + (("lo", "ls", "hi", "hs") if t[0] == "u" else ()):
            compare.add(f"setp.{c}.{t}", "pred", [t, t])
    for t in ("f32", "f64", "f16", "bf16"):
        for c in ordered + ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"):
            for f in ("", ".ftz") if t == "f32" else ("",):
                if t == "bf16":
                    continue
                compare.add(f"setp.{c}{f}.{t}", "pred", [t, t])
    for combine in ("and", "or", "xor"):
        compare.add(f"setp.lt.{combine}.s32", "pred", ["s32", "s32", "pred"])
        compare.add(f"setp.lt.{combine}.s32 !c", "pred", ["s32", "s32", "pred"], body=f"setp.lt.{combine}.s32 %d, %a, %b, !%c;")
    compare.add("setp second", "pred", ["s32", "s32", "pred"], body=".reg .pred %e; setp.lt.and.s32 %e|%d, %a, %b, %c;")
    for d in ("u32", "s32", "f32"):
        for t in ("u32", "s32", "f32", "f64"):
            compare.add(f"set.ge.{d}.{t}", d, [t, t])

    convert = Family("convert")
    ints = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
    reals = ("f16", "f32", "f64")
    for d, s in itertools.product(ints, ints):
        if d != s:
            convert.add(f"cvt.{d}.{s}", d, [s])
            # Saturation is an error where every value fits.
            fits = int(d[1:]) > int(s[1:]) and (d[0] == "s" or s[0] == "u")
            if not fits:
                convert.add(f"cvt.sat.{d}.{s}", d, [s])
    for d, s in itertools.product(ints, reals):
        for r in ("rni", "rzi", "rmi", "rpi"):
            convert.add(f"cvt.{r}.{d}.{s}", d, [s])
    for d, s in itertools.product(reals, ints):
        for r in ("rn", "rz", "rm", "rp"):
            convert.add(f"cvt.{r}.{d}.{s}", d, [s])
    for d, s in (("f16", "f32"), ("f16", "f64"), ("f32", "f64")):
        for r in ("rn", "rz", "rm", "rp"):
            convert.add(f"cvt.{r}.{d}.{s}", d, [s])
    for d, s in (("f32", "f16"), ("f64", "f16"), ("f64", "f32")):
        convert.add(f"cvt.{d}.{s}", d, [s])
    convert.add("cvt.f32.bf16", "f32", ["bf16"])
    for r in ("rn", "rz"):
        for relu in ("", ".relu"):
            convert.add(f"cvt.{r}{relu}.bf16.f32", "bf16", ["f32"])
            convert.add(f"cvt.{r}{relu}.f16.f32", "f16", ["f32"])
            for pair in ("f16x2", "bf16x2"):
                convert.add(f"cvt.{r}{relu}.{pair}.f32", pair, ["f32", "f32"])
    convert.add("cvt.rna.tf32.f32", "tf32", ["f32"])
    for t in ("f32", "f64", "f16"):
        for r in ("rni", "rzi", "rmi", "rpi"):
            convert.add(f"cvt.{r}.{t}.{t}", t, [t])
    for mode in ("cvt.sat.f32.f32", "cvt.ftz.f32.f32", "cvt.ftz.f32.f16", "cvt.rn.ftz.f16.f32", "cvt.rni.ftz.s32.f32", "cvt.rn.sat.f16.f32", "cvt.rn.sat.f32.f64", "cvt.ftz.f64.f32"):
        convert.add(mode, mode.split(".")[-2], [mode.split(".")[-1]])

    halves = Family("half")
    for t in ("f16", "f16x2", "bf16", "bf16x2"):
        f = t.startswith("f")
        halves.add(f"fma.rn.{t}", t, [t] * 3)
        halves.add(f"fma.rn.relu.{t}", t, [t] * 3)
        for op in ("min", "max", "min.NaN", "max.NaN"):
            halves.add(f"{op}.{t}", t, [t, t])
        halves.add(f"neg.{t}", t, [t])
        halves.add(f"abs.{t}", t, [t])
        if f:
            for op in ("add", "sub", "mul", "add.rn", "add.sat", "mul.sat", "add.ftz", "mul.ftz"):
                halves.add(f"{op}.{t}", t, [t, t])
            halves.add(f"fma.rn.sat.{t}", t, [t] * 3)
            halves.add(f"fma.rn.ftz.{t}", t, [t] * 3)
            halves.add(f"ex2.approx.{t}", t, [t])
            halves.add(f"tanh.approx.{t}", t, [t])

    for t in ("bf16", "bf16x2"):
        for op in ("add", "sub", "mul"):
            later.add(f"{op}.{t}", t, [t, t])
        later.add(f"tanh.approx.{t}", t, [t])
        later.add(f"ex2.approx.ftz.{t}", t, [t])
    for c in ordered + ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"):
        later.add(f"setp.{c}.bf16", "pred", ["bf16", "bf16"])
    for s in ints[2:]:
        later.add(f"cvt.rn.bf16.{s}", "bf16", [s])
    for op in ("add", "min.u", "max.s"):
        t = "u16x2" if op != "max.s" else "s16x2"
        later.add(f"{op.split('.')[0]}.{t}", t, [t, t])
    return [integer, bits, floats, compare, convert, halves, later]


MMA = [  # shape, d, a, b, c, registers of d, a, b, c
    ("m16n8k16", "f32.bf16.bf16.f32", 4, 4, 2, 4), ("m16n8k8", "f32.bf16.bf16.f32", 4, 2, 1, 4),
    ("m16n8k16", "f32.f16.f16.f32", 4, 4, 2, 4), ("m16n8k8", "f32.f16.f16.f32", 4, 2, 1, 4),
    ("m16n8k16", "f16.f16.f16.f16", 2, 4, 2, 2), ("m16n8k8", "f16.f16.f16.f16", 2, 2, 1, 2),
    ("m16n8k8", "f32.tf32.tf32.f32", 4, 4, 2, 4), ("m16n8k4", "f32.tf32.tf32.f32", 4, 2, 1, 4),
    ("m16n8k32", "s32.s8.s8.s32", 4, 4, 2, 4), ("m16n8k32", "s32.u8.s8.s32", 4, 4, 2, 4), ("m16n8k16", "s32.s8.s8.s32", 4, 2, 1, 4),
]
SETS = 8


def warp_family():
    """Instructions of whole warps: lane l of block s reads `inputs` words at 32·s·inputs + l·inputs and writes 4 words likewise."""
    entries = []
    for shape, types, d, a, b, c in MMA:
        reg = {"f32": ".f32" if types.startswith("f32") else ".b32"}.get(types.split(".")[0], ".b32")
        groups = {"d": (d, reg), "a": (a, ".b32"), "b": (b, ".b32"), "c": (c, reg)}
        vector = {g: "{" + ", ".join(f"%{g}{n}" for n in range(count)) + "}" for g, (count, _) in groups.items()}
        lines = [f".reg {r} " + ", ".join(f"%{g}{n}" for n in range(count)) + ";" for g, (count, r) in groups.items()]
        at = 0
        for g in "abc":
            for n in range(groups[g][0]):
                lines.append(f"ld.global.b32 %{g}{n}, [%p+{4 * at}];")
                at += 1
        lines.append(f"mma.sync.aligned.{shape}.row.col.{types} {vector['d']}, {vector['a']}, {vector['b']}, {vector['c']};")
        lines += [f"st.global.b32 [%q+{4 * n}], %d{n};" for n in range(d)]
        kind = types.split(".")[1]
        entries.append((f"mma.{shape}.{types}", at, f"mma {kind} {a} {b} {c} {types.split('.')[0]}", lines))
    for mode, b, c in itertools.product(("up", "down", "bfly", "idx"), (0, 1, 3, 16, 31), (0, 31, 0x1F00 | 31, 0x1C03, 0x1807)):
        lines = [".reg .b32 %a, %d, %e; .reg .pred %x;", "ld.global.b32 %a, [%p];", f"shfl.sync.{mode}.b32 %d|%x, %a, {b}, {c}, -1;",
                 "selp.u32 %e, 1, 0, %x;", "st.global.b32 [%q], %d;", "st.global.b32 [%q+4], %e;"]
        entries.append((f"shfl.{mode} {b} {c:#x}", 1, "int", lines))
    for op in ("vote.sync.all.pred", "vote.sync.any.pred", "vote.sync.uni.pred"):
        entries.append((op, 1, "int", [".reg .b32 %a, %e; .reg .pred %x, %y;", "ld.global.b32 %a, [%p];", "and.b32 %a, %a, 7;", "setp.ne.b32 %x, %a, 0;", f"{op} %y, %x, -1;", "selp.u32 %e, 1, 0, %y;", "st.global.b32 [%q], %e;"]))
    entries.append(("vote.ballot", 1, "int", [".reg .b32 %a, %e; .reg .pred %x;", "ld.global.b32 %a, [%p];", "setp.gt.s32 %x, %a, 0;", "vote.sync.ballot.b32 %e, %x, -1;", "st.global.b32 [%q], %e;"]))
    entries.append(("match.any", 1, "int", [".reg .b32 %a, %e;", "ld.global.b32 %a, [%p];", "and.b32 %a, %a, 3;", "match.any.sync.b32 %e, %a, -1;", "st.global.b32 [%q], %e;"]))
    entries.append(("match.all", 1, "int", [".reg .b32 %a, %e; .reg .pred %x;", "ld.global.b32 %a, [%p];", "and.b32 %a, %a, 256;", "match.all.sync.b32 %e|%x, %a, -1;", "st.global.b32 [%q], %e;", "selp.u32 %e, 1, 0, %x;", "st.global.b32 [%q+4], %e;"]))
    for op in ("add.u32", "add.s32", "min.u32", "min.s32", "max.u32", "max.s32", "and.b32", "or.b32", "xor.b32"):
        entries.append((f"redux.{op}", 1, "int", [".reg .b32 %a, %e;", "ld.global.b32 %a, [%p];", f"redux.sync.{op} %e, %a, -1;", "st.global.b32 [%q], %e;"]))
    for count, trans in itertools.product((1, 2, 4), ("", ".trans")):
        registers = "{" + ", ".join(f"%d{n}" for n in range(count)) + "}"
        declare = ".reg .b32 " + ", ".join(f"%d{n}" for n in range(4)) + ", %s, %a; .shared .align 16 .b8 tile[512];"
        fill = [declare, "mov.u32 %s, tile;", "shl.b32 %a, %l, 4;", "add.u32 %s, %s, %a;"]
        fill += [f"ld.global.b32 %d{n}, [%p+{4 * n}];" for n in range(4)]
        fill += ["st.shared.v4.b32 [%s], {%d0, %d1, %d2, %d3};", "bar.sync 0;"]
        fill += [f"ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {registers}, [%s];"]
        entries.append((f"ldmatrix.x{count}{trans}", 4, "int", fill + [f"st.global.b32 [%q+{4 * n}], %d{n};" for n in range(count)]))
    entries.append(("movmatrix", 1, "int", [".reg .b32 %a, %e;", "ld.global.b32 %a, [%p];", "movmatrix.sync.aligned.m8n8.trans.b16 %e, %a;", "st.global.b32 [%q], %e;"]))
    text = [".version 8.0\n.target sm_80\n.address_size 64\n"]
    for n, (name, inputs, _, lines) in enumerate(entries):
        body = "\n  ".join(lines)
        text.append(f"""// {name}
.visible .entry k{n}(.param .u64 from, .param .u64 to)
{{
  .reg .u64 %p, %q, %t;
  .reg .u32 %l, %i;
  ld.param.u64 %p, [from];
  ld.param.u64 %q, [to];
  mov.u32 %l, %tid.x;
  mov.u32 %i, %ctaid.x;
  mad.lo.u32 %i, %i, 32, %l;
  mul.wide.u32 %t, %i, {4 * inputs};
  add.u64 %p, %p, %t;
  mul.wide.u32 %t, %i, 16;
  add.u64 %q, %q, %t;
  {body}
  ret;
}}
""")
    return "".join(text), entries


def warp_inputs(rng, words, kind):
    shape = (SETS, 32, words)
    if not kind.startswith("mma"):
        return rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    _, kind, a, b, c, result = kind.split()
    ab = int(a) + int(b)
    values = rng.normal(0, 1, (*shape, 2)) * np.exp(rng.normal(0, 1.5, (*shape, 2)))
    if kind == "bf16":
        halves = values.astype(np.float32).view(np.uint32) >> 16
        out = (halves[..., 0] | halves[..., 1] << 16).astype(np.uint32)
    elif kind == "f16":
        out = values.astype(np.float16).view(np.uint32)[..., 0]
    elif kind == "tf32":
        out = values[..., 0].astype(np.float32).view(np.uint32)
    else:
        return rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    out = out.copy()
    out[..., ab:] = values[..., ab:, :].astype(np.float16).view(np.uint32)[..., 0] if result == "f16" else values[..., ab:, 0].astype(np.float32).view(np.uint32)
    return out


class Cuda:
    def __init__(self):
        self.lib = ctypes.CDLL("libcuda.so.1")
        self("cuInit", 0)
        context = ctypes.c_void_p()
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self("cuCtxSetCurrent", context)

    def __call__(self, name, *arguments):
        status = getattr(self.lib, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: {status}")

    def module(self, text):
        module = ctypes.c_void_p()
        log = ctypes.create_string_buffer(1 << 14)
        options = (ctypes.c_int * 2)(5, 6)
        values = (ctypes.c_void_p * 2)(ctypes.cast(log, ctypes.c_void_p), len(log))
        try:
            self("cuModuleLoadDataEx", ctypes.byref(module), ctypes.c_char_p(text.encode()), 2, options, values)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{log.value.decode()}") from None
        return module

    def upload(self, array):
        address = ctypes.c_uint64()
        self("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(array.nbytes))
        self("cuMemcpyHtoD_v2", address, array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes))
        return address

    def run(self, module, name, source, target, blocks, threads):
        function = ctypes.c_void_p()
        self("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        arguments = (ctypes.c_void_p * 2)(ctypes.addressof(source), ctypes.addressof(target))
        self("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, None, arguments, None)

    def download(self, address, like):
        out = np.empty_like(like)
        self("cuMemcpyDtoH_v2", out.ctypes.data_as(ctypes.c_void_p), address, ctypes.c_size_t(out.nbytes))
        return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(20261124)
    classes = operands(rng)
    all_families = families()
    warp_text, warp_entries = warp_family()
    for family in all_families:
        (options.out / f"{family.name}.ptx").write_text(family.text())
    (options.out / "warp.ptx").write_text(warp_text)
    if options.list:
        return
    cuda = Cuda()
    index = {"count": COUNT, "sets": SETS, "classes": list(classes), "families": {}, "warp": []}
    chunks = [classes[name].tobytes() for name in classes]
    sources = {name: cuda.upload(array) for name, array in classes.items()}
    out = np.full(COUNT, 0xDEADBEEFDEADBEEF, dtype=np.uint64)
    for family in all_families:
        module = cuda.module(family.text())
        index["families"][family.name] = [[opcode, operand_class, result] for opcode, result, _, operand_class, _, _ in family.entries]
        for n, entry in enumerate(family.entries):
            target = cuda.upload(out)
            cuda.run(module, f"k{n}", sources[entry[3]], target, 1, COUNT)
            chunks.append(cuda.download(target, out).tobytes())
        print(family.name, len(family.entries))
    module = cuda.module(warp_text)
    four = np.full((SETS, 32, 4), 0xDEADBEEF, dtype=np.uint32)
    for n, (name, words, kind, _) in enumerate(warp_entries):
        inputs = warp_inputs(rng, words, kind)
        target = cuda.upload(four)
        cuda.run(module, f"k{n}", cuda.upload(inputs), target, SETS, 32)
        index["warp"].append([name, words])
        chunks += [inputs.tobytes(), cuda.download(target, four).tobytes()]
    print("warp", len(warp_entries))
    (options.out / "answers.bin").write_bytes(b"".join(chunks))
    (options.out / "index.json").write_text(json.dumps(index))


main()
