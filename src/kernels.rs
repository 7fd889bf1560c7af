//! The CUDA kernels inside this binary: one fatbin per `.cu`, and what ptxas said of each kernel.

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
