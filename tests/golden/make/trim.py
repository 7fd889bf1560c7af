"""Makes the project's small copy of a whole-model golden set (standard library only).

    python3 trim.py FULL.safetensors SMALL.safetensors

Gradients of more than 4096 entries become `gsamp.X`, 64 entries at the index rule of tests/golden/README.md, and `gnorm.X`, the
norm of the whole. Parameters as large go where the set's `fill` makes them again, and so do what an optimizer made of them
(`adamw1.X`, `ema1.X`, …). Everything else, bytes and metadata, stays. Rounding noise of a sample: that of the tensor it is from;
of a norm: the tensor's relative noise times the norm, because entries share the errors of the gradient that flows into
their layer and so err together.
"""

import json
import math
import re
import struct
import sys

LARGEST, SAMPLES = 4096, 64


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = file.read()
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], body[begin:end])
    return metadata, tensors


def write(path, metadata, tensors):
    header, offset = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def trim(description, tensors):
    noise, shapes = description["err_f32_vs_f64"], description["shapes"]
    filled = description.get("fill") or {}
    kept = {}
    for name, (dtype, shape, data) in tensors.items():
        numel = math.prod(shape)
        kind, _, parameter = name.partition(".")
        if numel > LARGEST and parameter in filled and re.fullmatch(r"param|(adamw|ema)\d", kind):
            continue
        if not name.startswith("grad.") or numel <= LARGEST:
            kept[name] = (dtype, shape, data)
            continue
        values = struct.unpack(f"<{numel}f", data)
        sample = [values[(k * 2654435761 + 12345) % numel] for k in range(SAMPLES)]
        norm = math.sqrt(math.fsum(v * v for v in values))
        absolute, relative = noise[name]
        kept[f"gsamp.{parameter}"] = ("F32", [SAMPLES], struct.pack(f"<{SAMPLES}f", *sample))
        kept[f"gnorm.{parameter}"] = ("F32", [1], struct.pack("<f", norm))
        noise[f"gsamp.{parameter}"] = [absolute, relative]
        noise[f"gnorm.{parameter}"] = [relative * norm, relative]
        shapes[f"gsamp.{parameter}"], shapes[f"gnorm.{parameter}"] = [SAMPLES], [1]
    description["trimmed"] = f"gradients above {LARGEST} entries: gsamp.* ({SAMPLES} entries) and gnorm.*"
    return kept


if __name__ == "__main__":
    metadata, tensors = read(sys.argv[1])
    description = json.loads(metadata["json"])
    kept = trim(description, tensors)
    metadata["json"] = json.dumps(description)
    # Wider types first keeps every tensor aligned.
    write(sys.argv[2], metadata, dict(sorted(kept.items(), key=lambda item: (item[1][0] == "F32", item[0]))))
