//! Graphs, as [`super::capture`] makes them.
//!
//! Memory that a graph allocates has the same address in every launch, and is there from the operation that allocates it to the one that
//! frees it. Source: "CUDA Driver API" reference, graph management; "CUDA C++ Programming Guide", graph memory nodes.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;
use std::sync::Arc;

use super::stream::Operation;
use super::{
    Driver, Handle, INVALID_HANDLE, INVALID_VALUE, OUT_OF_MEMORY, Result, export, give, not_supported, refuse,
};

/// A graph, or an executable one.
#[derive(Clone, Default)]
pub(super) struct Graph {
    pub(super) operations: Vec<Operation>,
    pub(super) memory: Vec<Arc<Reserved>>,
    executable: bool,
    /// What is left allocated of the last launch is freed by the next one.
    auto_free: bool,
}

/// An address of a graph's memory.
pub(super) struct Reserved(u64);

/// `CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`.
const AUTO_FREE: u64 = 1;

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
pub struct InstantiateParams {
    flags: u64,
    upload_stream: Handle,
    error_node: Handle,
    result: c_int,
}

impl Driver {
    /// An address for memory of a graph.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(u64, Arc<Reserved>)> {
        let address = self.machine.arena.reserve(bytes).ok_or(OUT_OF_MEMORY)?;
        Ok((address, Arc::new(Reserved(address))))
    }

    /// Gives back the memory that no other graph has.
    pub(super) fn drop_graph(&mut self, graph: Graph) {
        for memory in graph.memory {
            if let Some(Reserved(address)) = Arc::into_inner(memory) {
                self.machine.arena.unreserve(address);
            }
        }
    }

    fn instantiate(&mut self, graph: Handle, flags: u64) -> Result<usize> {
        let found = self.graphs.get(&(graph as usize)).filter(|g| !g.executable).ok_or(INVALID_HANDLE)?;
        let executable = Graph { executable: true, auto_free: flags & AUTO_FREE != 0, ..found.clone() };
        let handle = self.handle();
        self.graphs.insert(handle, executable);
        Ok(handle)
    }

    fn launch_graph(&mut self, executable: Handle, stream: Handle) -> Result<()> {
        self.known(stream)?;
        let graph = self.graphs.get(&(executable as usize)).filter(|g| g.executable).ok_or(INVALID_HANDLE)?.clone();
        if let Some(id) = self.capture_of(stream) {
            if !graph.memory.is_empty() {
                self.invalidate(id);
                return not_supported("a graph that allocates memory within another graph");
            }
            let capture = self.capture(id)?;
            graph.operations.into_iter().for_each(|operation| capture.push(stream, operation));
            return Ok(());
        }
        for Reserved(address) in graph.memory.iter().map(AsRef::as_ref) {
            if self.machine.arena.is_allocated(*address) {
                if !graph.auto_free {
                    eprintln!("softgpu: cuGraphLaunch: memory of the last launch at {address:#x} was not freed");
                    return Err(INVALID_VALUE);
                }
                self.release(*address)?;
            }
        }
        graph.operations.into_iter().try_for_each(|operation| self.enqueue(stream, operation))
    }

    fn destroy_graph(&mut self, graph: Handle, executable: bool) -> Result<()> {
        self.graphs.get(&(graph as usize)).filter(|g| g.executable == executable).ok_or(INVALID_HANDLE)?;
        let graph = self.graphs.remove(&(graph as usize)).ok_or(INVALID_HANDLE)?;
        self.drop_graph(graph);
        Ok(())
    }
}

export! {
    /// `cuGraphInstantiateWithFlags`.
    fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, flags: u64) |driver| {
        give(executable, driver.instantiate(graph, flags)? as Handle)
    }
    /// `cuGraphInstantiateWithParams`.
    fn cuGraphInstantiateWithParams(executable: *mut Handle, graph: Handle, params: *mut InstantiateParams) |driver| {
        let params = params.as_mut().ok_or(INVALID_VALUE)?;
        (params.error_node, params.result) = (null_mut(), 0);
        give(executable, driver.instantiate(graph, params.flags)? as Handle)
    }
    /// `cuGraphInstantiate`, with neither flags nor a log.
    fn cuGraphInstantiate(executable: *mut Handle, graph: Handle, _node: *mut Handle, _log: *mut c_char, _bytes: usize) |driver| {
        give(executable, driver.instantiate(graph, 0)? as Handle)
    }
    /// `cuGraphInstantiate_v2`: nothing goes wrong that a log would tell.
    fn cuGraphInstantiate_v2(executable: *mut Handle, graph: Handle, _node: *mut Handle, _log: *mut c_char, _bytes: usize) |driver| {
        give(executable, driver.instantiate(graph, 0)? as Handle)
    }
    /// `cuGraphLaunch`.
    fn cuGraphLaunch(executable: Handle, stream: Handle) |driver| { driver.launch_graph(executable, stream) }
    /// `cuGraphUpload`.
    fn cuGraphUpload(executable: Handle, stream: Handle) |driver| {
        driver.known(stream)?;
        driver.graphs.get(&(executable as usize)).filter(|g| g.executable).map(drop).ok_or(INVALID_HANDLE)
    }
    /// `cuGraphGetNodes`: how many there are; they have no handles.
    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) |driver| {
        if !nodes.is_null() { return not_supported("handles of a graph's nodes"); }
        give(count, driver.graphs.get(&(graph as usize)).ok_or(INVALID_HANDLE)?.operations.len())
    }
    /// `cuGraphDestroy`.
    fn cuGraphDestroy(graph: Handle) |driver| { driver.destroy_graph(graph, false) }
    /// `cuGraphExecDestroy`.
    fn cuGraphExecDestroy(executable: Handle) |driver| { driver.destroy_graph(executable, true) }
    /// `cuDeviceGraphMemTrim`: memory of graphs is given back when they are destroyed.
    fn cuDeviceGraphMemTrim(_device: c_int) |_driver| { Ok(()) }
}

refuse! {
    cuGraphCreate cuGraphAddKernelNode_v2 cuGraphAddMemcpyNode
    cuGraphAddMemsetNode cuGraphExecUpdate_v2 cuGraphExecKernelNodeSetParams_v2 cuGraphClone
}
