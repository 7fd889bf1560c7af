//! A launch: blocks spread over threads, and what is found and counted meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::block::{Block, Profile, Turn};
use super::program::Program;
use super::rng::Rng;
use crate::check::{Finding, Findings, Kind, SourceLine};
use crate::counters::Counters;
use crate::gpu::Gpu;
use crate::memory::{Arena, LaunchMemory};
use crate::options::Options;

/// What kernels run on.
pub struct Machine {
    /// The model that is imitated.
    pub gpu: Gpu,
    /// Device memory.
    pub arena: Arena,
    /// Schedules and checks.
    pub options: Options,
}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks must be resident at once.
    pub cooperative: bool,
}

/// What came of a launch.
#[derive(Debug)]
pub struct Outcome {
    /// What ended it early, if anything did.
    pub fault: Option<Finding>,
    /// Everything that the checks found, the fault included, each place once.
    pub findings: Vec<Finding>,
    /// What it did.
    pub counters: Counters,
}

/// A launch that cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A grid or block that the GPU or the kernel does not allow.
    #[error("{0}")]
    Shape(String),
    /// More shared memory or threads than an SM has.
    #[error("{0}")]
    Resources(String),
    /// A cooperative launch whose blocks cannot all be resident.
    #[error("{0}")]
    Cooperative(String),
}

/// A launch while it runs.
pub struct Launch<'a> {
    /// The kernel.
    pub program: &'a Program,
    /// Its grid.
    pub config: Config,
    /// The model.
    pub gpu: &'a Gpu,
    /// Schedules and checks.
    pub options: &'a Options,
    /// Its parameters, and device memory.
    pub memory: LaunchMemory<'a>,
    /// Counts launches of this process: the clock and `%gridid` start from it.
    pub serial: u64,
    /// Address of the grid's barrier, for cooperative launches; else 0.
    pub grid_workspace: u64,
    /// Text that `printf` wrote is flushed block by block.
    findings: Mutex<Findings>,
    fault: Mutex<Option<Finding>>,
    over: AtomicBool,
}

static LAUNCHES: AtomicU64 = AtomicU64::new(1);

impl Launch<'_> {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.config.block.iter().product()
    }

    /// Bytes of shared memory of a block.
    pub fn shared_bytes(&self) -> u32 {
        self.program.shared_bytes + self.config.shared_bytes
    }

    /// Whether a fault has ended it.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A finding at instruction `pc`.
    pub fn finding(&self, kind: Kind, block: [u32; 3], thread: [u32; 3], pc: u32, message: &str) -> Finding {
        let origin = self.program.origins.get(pc as usize).copied().unwrap_or_default();
        let source = self.program.debug.place(origin).map(|(file, line)| SourceLine { file: file.to_string(), line });
        let (kernel, message) = (self.program.name.clone(), message.to_string());
        Finding { kind, kernel, block, thread, ptx_line: origin.line, source, message, count: 1 }
    }

    /// Keeps a finding.
    pub fn record(&self, finding: Finding) {
        self.findings.lock().unwrap_or_else(|e| e.into_inner()).add(finding);
    }

    /// Keeps the finding that ends the launch; the first one counts.
    pub fn fail(&self, finding: Finding) {
        self.record(finding.clone());
        self.fault.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(finding);
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Blocks that an SM holds at once, with what the kernel is known to need.
pub fn blocks_per_multiprocessor(gpu: &Gpu, program: &Program, config: &Config) -> u32 {
    let threads = config.block.iter().product();
    gpu.occupancy(program.registers, program.shared_bytes + config.shared_bytes, threads).blocks
}

fn check(machine: &Machine, program: &Program, config: &Config) -> Result<(), LaunchError> {
    let gpu = &machine.gpu;
    let [bx, by, bz] = config.block;
    let (threads, blocks) = (u64::from(bx) * u64::from(by) * u64::from(bz), config.grid.map(u64::from));
    let shape = |message: String| Err(LaunchError::Shape(message));
    if threads == 0 || blocks.contains(&0) {
        return shape(format!("grid {:?} and block {:?} must not be empty", config.grid, config.block));
    }
    if threads > 1024 || bz > 64 {
        return shape(format!("block {:?} has {threads} threads; 1024, and 64 in z, are the most", config.block));
    }
    if blocks[0] > 0x7fff_ffff
        || blocks[1] > 65535
        || blocks[2] > 65535
        || blocks.iter().product::<u64>() > u64::from(u32::MAX)
    {
        return shape(format!("grid {:?} is too large", config.grid));
    }
    if let Some(required) = program.required_threads.filter(|required| *required != config.block) {
        return shape(format!("{} is compiled for blocks of {required:?}", program.name));
    }
    if threads > u64::from(program.max_threads) {
        return shape(format!("{} is compiled for at most {} threads a block", program.name, program.max_threads));
    }
    let shared = u64::from(program.shared_bytes) + u64::from(config.shared_bytes);
    if shared > u64::from(gpu.shared_per_block_optin) {
        return Err(LaunchError::Resources(format!(
            "{shared} bytes of shared memory; a block can have {}",
            gpu.shared_per_block_optin
        )));
    }
    if config.cooperative {
        let resident = u64::from(blocks_per_multiprocessor(gpu, program, config)) * u64::from(gpu.multiprocessors);
        if blocks.iter().product::<u64>() > resident {
            return Err(LaunchError::Cooperative(format!(
                "grid {:?}: {resident} blocks can be resident at once",
                config.grid
            )));
        }
    }
    Ok(())
}

/// Runs `program` over its grid. `params` is its parameter block, laid out as [`Program::params`] says.
///
/// Blocks run in parallel, except where the kernel's results depend on their order: then one thread runs them in the order that the
/// seed gives.
///
/// # Errors
/// A grid, a block or a request that the GPU would refuse.
pub fn launch(
    machine: &Machine,
    program: &Arc<Program>,
    config: &Config,
    params: &[u8],
) -> Result<Outcome, LaunchError> {
    check(machine, program, config)?;
    let blocks = config.grid.iter().product::<u32>();
    let workspace = if config.cooperative { machine.arena.allocate(256, "cooperative grid") } else { None };
    if let Some(address) = workspace {
        // Size and barrier, as cooperative groups lay them out; zero before the first arrival.
        let zeroed = machine.arena.fill(address, 0, 1, 256);
        debug_assert!(zeroed.is_ok());
    }
    let launch = Launch {
        program,
        config: *config,
        gpu: &machine.gpu,
        options: &machine.options,
        memory: LaunchMemory::new(machine, program, config, params),
        serial: LAUNCHES.fetch_add(1, Ordering::Relaxed),
        grid_workspace: workspace.unwrap_or(0),
        findings: Mutex::default(),
        fault: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let resident =
        blocks_per_multiprocessor(&machine.gpu, program, config).max(1).saturating_mul(machine.gpu.multiprocessors);
    let workers = if program.order_sensitive || config.cooperative {
        1
    } else {
        machine.options.threads.clamp(1, blocks as usize)
    };
    let queue = Queue { next: AtomicU32::new(0), blocks, window: resident.min(blocks), seed: machine.options.seed };
    let profiles: Vec<(Profile, Counters)> = if workers == 1 {
        vec![work(&launch, &queue, resident)]
    } else {
        std::thread::scope(|scope| {
            let spawn = |_| scope.spawn(|| work(&launch, &queue, resident / workers as u32));
            let handles: Vec<_> = (0..workers).map(spawn).collect();
            handles.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    };
    if let Some(address) = workspace {
        let freed = machine.arena.free(address);
        debug_assert!(freed.is_ok());
    }
    let mut counters = Counters::default();
    let mut profile = Profile { warps: vec![0; program.insts.len()], lanes: vec![0; program.insts.len()] };
    for (part, counted) in &profiles {
        counters.merge(counted);
        profile.warps.iter_mut().zip(&part.warps).for_each(|(all, part)| *all += part);
        profile.lanes.iter_mut().zip(&part.lanes).for_each(|(all, part)| *all += part);
    }
    counters.finish(&program.insts, &profile.warps, &profile.lanes);
    launch.memory.finish(&mut counters);
    let fault = launch.fault.into_inner().unwrap_or_else(|e| e.into_inner());
    let findings = launch.findings.into_inner().unwrap_or_else(|e| e.into_inner());
    Ok(Outcome { fault, findings: findings.into_vec(), counters })
}

/// Gives out blocks in a seeded order, shuffled within as many as the GPU holds at once: a kernel may count on it that no block
/// starts long before those with lower indices.
struct Queue {
    next: AtomicU32,
    blocks: u32,
    window: u32,
    seed: u64,
}

impl Queue {
    fn take(&self) -> Option<u32> {
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.blocks).then_some(n + 1))
            .ok()?;
        let (window, at) = (taken / self.window, taken % self.window);
        let size = self.window.min(self.blocks - window * self.window);
        let mut rng = Rng::new(self.seed ^ u64::from(window) << 32);
        let (stride, offset) = (coprime(rng.below(size) | 1, size), rng.below(size));
        let place = (u64::from(at) * u64::from(stride) + u64::from(offset)) % u64::from(size);
        Some(window * self.window + place as u32)
    }
}

/// The first number from `from` on that shares no factor with `n`.
fn coprime(from: u32, n: u32) -> u32 {
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (from..).find(|&k| gcd(k, n) == 1).unwrap_or(1)
}

/// Runs blocks until there are no more: one at a time to its end, unless it waits for others.
fn work(launch: &Launch, queue: &Queue, resident: u32) -> (Profile, Counters) {
    let mut profile =
        Profile { warps: vec![0; launch.program.insts.len()], lanes: vec![0; launch.program.insts.len()] };
    let mut counters = Counters::default();
    let (mut waiting, mut idle): (VecDeque<Box<Block>>, Vec<Box<Block>>) = (VecDeque::new(), vec![]);
    while !launch.is_over() {
        let fresh = if (waiting.len() as u32) < resident.max(1) { queue.take() } else { None };
        let mut block = match fresh {
            Some(index) => {
                let mut block = idle.pop().unwrap_or_else(|| Block::new(launch));
                block.start(index);
                block
            }
            None => match waiting.pop_front() {
                Some(block) => block,
                None => break,
            },
        };
        match block.run(&mut profile) {
            Turn::Done => {
                block.memory.end();
                idle.push(block);
            }
            Turn::Polling => waiting.push_back(block),
            Turn::Fault => idle.push(block),
        }
    }
    for block in waiting.iter_mut().chain(&mut idle) {
        counters.merge(&block.memory.counters);
    }
    (profile, counters)
}
