//! Stub of the memory of a GPU: signatures only.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
use crate::counters::Counters;
use crate::exec::Warp;
use crate::exec::launch::{Config, Launch, Machine};
use crate::exec::program::Program;
use std::marker::PhantomData;
pub const SHARED_BASE: u64 = 1 << 60;
pub const CONST_LIMIT: u64 = 1 << 20;
/// Device memory: addresses are those of the host.
pub struct Arena;
/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    #[error("{0:#x} is not the start of an allocation")]
    NotAllocated(u64),
    #[error("{bytes} bytes at {address:#x} are not within an allocation")]
    OutOfBounds { address: u64, bytes: u64 },
    #[error("{0:#x} was freed")]
    Freed(u64),
}
/// An allocation.
#[derive(Debug, Clone)]
pub struct Allocation { pub address: u64, pub bytes: u64, pub name: String }
impl Arena {
    pub fn new(bytes: u64) -> std::io::Result<Arena> { todo!() }
    pub fn allocate(&self, bytes: u64, name: &str) -> Option<u64> { todo!() }
    pub fn free(&self, address: u64) -> Result<(), ArenaError> { todo!() }
    pub fn copy_in(&self, to: u64, from: &[u8]) -> Result<(), ArenaError> { todo!() }
    /// Bytes that nothing wrote are counted.
    pub fn copy_out(&self, from: u64, to: &mut [u8]) -> Result<u64, ArenaError> { todo!() }
    /// Device to device; ranges may overlap.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), ArenaError> { todo!() }
    /// `count` times the low `width` bytes (1, 2, 4) of `pattern`.
    pub fn fill(&self, to: u64, pattern: u32, width: u32, count: u64) -> Result<(), ArenaError> { todo!() }
    /// The allocation that holds an address.
    pub fn find(&self, address: u64) -> Option<Allocation> { todo!() }
    /// All that is allocated now.
    pub fn allocations(&self) -> Vec<Allocation> { todo!() }
    pub fn total_bytes(&self) -> u64 { todo!() }
    pub fn used_bytes(&self) -> u64 { todo!() }
}
pub struct LaunchMemory<'a>(PhantomData<&'a ()>);
impl<'a> LaunchMemory<'a> {
    pub fn new(machine: &'a Machine, program: &'a Program, config: &Config, params: &[u8]) -> LaunchMemory<'a> { todo!() }
    pub fn finish(&self, counters: &mut Counters) { todo!() }
}
pub struct BlockMemory { pub counters: Counters }
impl BlockMemory {
    pub fn new(launch: &Launch) -> BlockMemory { todo!() }
    pub fn start(&mut self, linear: u32, index: [u32; 3]) { todo!() }
    pub fn end(&mut self) { todo!() }
    pub fn barrier(&mut self, warps: u32) { todo!() }
    pub fn warp_sync(&mut self, warp: u32, lanes: u32) { todo!() }
    pub fn peek_local(&mut self, thread: u32, at: u64, bytes: u32) -> Option<u64> { todo!() }
    pub fn poke_local(&mut self, thread: u32, at: u64, value: u64, bytes: u32) { todo!() }
}
pub fn peek(w: &mut Warp, thread: u32, address: u64, bytes: u32) -> Option<u64> { todo!() }
impl Warp {
    pub fn fence(&mut self) {}
    pub fn clock(&mut self) -> u64 { todo!() }
}
