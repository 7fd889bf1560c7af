#!/bin/sh
# Compiles every kernel here to the PTX that lies beside it. Needs nvcc, by name or in NVCC.
cd "$(dirname "$0")" || exit 1
for source in ${*:-*.cu}; do
    ptx="${source%.cu}.ptx"
    "${NVCC:-nvcc}" -ptx -arch=compute_80 -lineinfo "$source" -o "$ptx" || exit 1
    # Paths without their folders, and no comments: the same text from every machine.
    sed -i -e 's|^\(\t\.file\t[0-9]* "\).*/|\1|' -e '/^[[:space:]]*\/\//d' -e '/^$/d' "$ptx"
done
