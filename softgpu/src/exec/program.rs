//! Modules in device memory and kernels ready to run.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::inst::{ALWAYS, Inst, Row};
use super::liveness;
use super::lower::{self, Content, Origin, Slot, Symbols, align_up};
use super::watch::Watches;
use crate::memory::{Arena, CONST_LIMIT, SHARED_BASE};
use crate::ptx::{Function, Init, Module, Param, PtxError, Source, Space, Variable};

/// A module whose variables lie in device memory and whose kernels can be launched.
#[derive(Debug)]
pub struct LoadedModule {
    /// Its entries, by name.
    pub kernels: BTreeMap<String, Arc<Program>>,
    /// Address and bytes of each variable of `.global` and `.const` space, by name.
    pub globals: BTreeMap<String, (u64, u64)>,
}

/// A kernel, decoded.
pub struct Program {
    /// The entry's name.
    pub name: String,
    /// The instructions.
    pub insts: Vec<Inst>,
    /// Where each came from.
    pub origins: Vec<Origin>,
    /// Files and places that origins refer to.
    pub debug: Arc<Debug>,
    /// Words of 32 bits of a warp's register file.
    pub register_words: u32,
    /// Predicates of a warp.
    pub predicates: u32,
    /// Targets of jumps through tables.
    pub tables: Vec<Box<[u32]>>,
    /// Pre-filled rows.
    pub fixed: Vec<(Row, Slot)>,
    /// Registers that are checked for reads before any write.
    pub watches: Watches,
    /// Formal parameters, for their layout.
    pub params: Vec<Param>,
    /// Bytes of the parameter block.
    pub param_bytes: u32,
    /// Bytes of shared memory that the kernel declares.
    pub shared_bytes: u32,
    /// Bytes of local memory per thread.
    pub local_bytes: u32,
    /// Registers per thread that a compiler needs at least: the most that live at once, and a few for addresses.
    pub registers: u32,
    /// `.maxntid` or `.reqntid`.
    pub max_threads: u32,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// Narrowest access to global memory in bytes: 1, 2 or 4.
    pub global_granule: u32,
    /// Narrowest access to shared memory in bytes: 1, 2 or 4.
    pub shared_granule: u32,
    /// Whether results may depend on the order in which blocks run; such kernels run on one thread so that a seed gives one result.
    pub order_sensitive: bool,
}

/// What it takes to name a place in the source.
#[derive(Debug, Default)]
pub struct Debug {
    files: HashMap<u32, String>,
    sources: Vec<Source>,
}

impl Debug {
    /// `(file, line)` of an origin, where the module has line information.
    pub fn place(&self, origin: Origin) -> Option<(&str, u32)> {
        let source = self.sources.get(origin.source as usize).filter(|source| source.line != 0)?;
        Some((self.files.get(&source.file)?, source.line))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("name", &self.name).field("insts", &self.insts.len()).finish_non_exhaustive()
    }
}

/// Special registers that hold one value for as long as a block runs.
const SPECIALS: &[&str] = &[
    "tid.x",
    "tid.y",
    "tid.z",
    "ntid.x",
    "ntid.y",
    "ntid.z",
    "ctaid.x",
    "ctaid.y",
    "ctaid.z",
    "nctaid.x",
    "nctaid.y",
    "nctaid.z",
    "laneid",
    "warpid",
    "nwarpid",
    "smid",
    "nsmid",
    "gridid",
    "lanemask_eq",
    "lanemask_le",
    "lanemask_lt",
    "lanemask_ge",
    "lanemask_gt",
    "dynamic_smem_size",
    "total_smem_size",
    "aggr_smem_size",
    "envreg1",
    "envreg2",
    "clusterid.x",
    "clusterid.y",
    "clusterid.z",
    "nclusterid.x",
    "nclusterid.y",
    "nclusterid.z",
    "cluster_ctaid.x",
    "cluster_ctaid.y",
    "cluster_ctaid.z",
    "cluster_nctaid.x",
    "cluster_nctaid.y",
    "cluster_nctaid.z",
    "cluster_ctarank",
    "cluster_nctarank",
    "is_explicit_cluster",
];

/// Whether `name` is a special register that [`super::block`] fills in.
pub fn is_special(name: &str) -> bool {
    SPECIALS.contains(&name)
}

struct Layout<'a> {
    module: &'a Module,
    addresses: HashMap<&'a str, (Space, u64)>,
    /// Names that were asked for since this was emptied last.
    used: RefCell<HashSet<String>>,
}

impl Symbols for Layout<'_> {
    fn address(&self, name: &str) -> Option<(Space, u64)> {
        let found = self.addresses.get(name).copied();
        if found.is_some_and(|(space, _)| space == Space::Shared) {
            self.used.borrow_mut().insert(name.to_string());
        }
        found
    }

    fn function(&self, name: &str) -> Option<&Function> {
        self.module.functions.iter().filter(|f| f.name == name).max_by_key(|f| f.body.is_some())
    }
}

/// Why a module does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text is wrong, or holds what is not supported.
    #[error(transparent)]
    Ptx(#[from] PtxError),
    /// Device memory is full.
    #[error("{bytes} bytes for variable '{name}' do not fit in device memory")]
    Memory {
        /// The variable.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// A variable that another module defines.
    #[error("variable '{0}' is external: modules are not linked")]
    External(String),
}

impl LoadedModule {
    /// Parses and decodes `ptx`, and gives its variables memory in `arena`.
    ///
    /// # Errors
    /// Text that is no PTX, an instruction that is not supported (with its line), or no memory for the variables.
    pub fn load(ptx: &str, arena: &Arena) -> Result<LoadedModule, LoadError> {
        let module = crate::ptx::parse(ptx)?;
        let mut globals = BTreeMap::new();
        let loaded = load(&module, arena, &mut globals);
        match loaded {
            Ok(kernels) => Ok(LoadedModule { kernels, globals }),
            Err(error) => {
                LoadedModule { kernels: BTreeMap::new(), globals }.unload(arena);
                Err(error)
            }
        }
    }

    /// Gives the variables' memory back.
    pub fn unload(&self, arena: &Arena) {
        for &(address, _) in self.globals.values() {
            // Each was allocated by `load` and is freed once.
            let freed = arena.free(address);
            debug_assert!(freed.is_ok());
        }
    }
}

fn load(
    module: &Module,
    arena: &Arena,
    globals: &mut BTreeMap<String, (u64, u64)>,
) -> Result<BTreeMap<String, Arc<Program>>, LoadError> {
    let mut layout = Layout { module, addresses: HashMap::new(), used: RefCell::default() };
    for variable in &module.variables {
        let place = match variable.space {
            // What is external is the launch's dynamic memory; it starts where the declared part ends.
            Space::Shared if variable.external || variable.bytes == 0 => continue,
            // Each kernel has its own, of those that it uses.
            Space::Shared => (Space::Shared, 0),
            _ if variable.external => return Err(LoadError::External(variable.name.clone())),
            space => {
                let full = || LoadError::Memory { name: variable.name.clone(), bytes: variable.bytes };
                let address = arena.allocate(variable.bytes.max(1), &variable.name).ok_or_else(full)?;
                globals.insert(variable.name.clone(), (address, variable.bytes));
                (space, address)
            }
        };
        layout.addresses.insert(&variable.name, place);
    }
    for variable in &module.variables {
        if let Some(&(address, bytes)) = globals.get(&variable.name) {
            let image = initial(variable, bytes, &layout)?;
            // The allocation above is exactly as long.
            let copied = arena.copy_in(address, &image);
            debug_assert!(copied.is_ok());
            if variable.space == Space::Const {
                arena.protect(address, bytes);
            }
        }
    }
    let debug = Arc::new(Debug { files: module.files.iter().cloned().collect(), sources: module.sources.clone() });
    let entries = module.functions.iter().filter(|f| f.entry && f.body.is_some());
    entries.map(|f| Ok((f.name.clone(), Arc::new(program(f, &mut layout, &debug)?)))).collect()
}

/// The bytes of a variable when its module is loaded: zero beyond its initialiser.
fn initial(variable: &Variable, bytes: u64, layout: &Layout) -> Result<Vec<u8>, PtxError> {
    let mut image = vec![];
    for part in &variable.init {
        match part {
            Init::Bytes(bytes) => image.extend_from_slice(bytes),
            Init::Address { symbol, offset, generic } => {
                let unknown = || PtxError {
                    line: 0,
                    message: format!("'{}' is initialised with '{symbol}', which is no variable", variable.name),
                };
                let (space, address) = layout.addresses.get(symbol.as_str()).copied().ok_or_else(unknown)?;
                let base = if space == Space::Shared && *generic { SHARED_BASE } else { 0 };
                image.extend_from_slice(&(base + address).wrapping_add_signed(*offset).to_le_bytes());
            }
        }
    }
    image.resize(bytes as usize, 0);
    Ok(image)
}

fn program<'a>(function: &Function, layout: &mut Layout<'a>, debug: &Arc<Debug>) -> Result<Program, PtxError> {
    let shared = || layout.module.variables.iter().filter(|v| v.space == Space::Shared);
    let (dynamic, declared): (Vec<&'a Variable>, Vec<_>) = shared().partition(|v| v.external || v.bytes == 0);
    // Lowered once to learn which shared variables the kernel uses, and how much its functions declare; dynamic memory follows them.
    for variable in &dynamic {
        layout.addresses.insert(&variable.name, (Space::Shared, 0));
    }
    layout.used.take();
    let (_, _, own) = lower::lower(function, layout, 0)?;
    let used = layout.used.take();
    let mut end = 0;
    for variable in declared.into_iter().filter(|v| used.contains(&v.name)) {
        let at = align_up(end, variable.align);
        layout.addresses.insert(&variable.name, (Space::Shared, at));
        end = at + variable.bytes;
    }
    let start = if own > 0 { align_up(end, 128) } else { end };
    for variable in &dynamic {
        layout.addresses.insert(&variable.name, (Space::Shared, align_up(start + own, variable.align.max(16))));
    }
    let (mut code, local_bytes, end) = lower::lower(function, layout, start)?;
    let too_large = |what: &str| PtxError {
        line: function.line,
        message: format!("{} declares too much {what} memory", function.name),
    };
    let shared_bytes =
        u32::try_from(if dynamic.is_empty() { end } else { align_up(end, 16) }).map_err(|_| too_large("shared"))?;
    let local_bytes =
        u32::try_from(local_bytes).ok().filter(|&b| u64::from(b) <= CONST_LIMIT).ok_or_else(|| too_large("local"))?;
    let rows = liveness::assign(&mut code);
    let watches = Watches::new(&mut code, &rows.unwritten);
    let threads = |t: [u32; 3]| t.iter().product::<u32>();
    debug_assert!(code.insts.iter().all(|i| i.guard == ALWAYS || i.guard < rows.predicates));
    Ok(Program {
        name: function.name.clone(),
        insts: code.insts,
        origins: code.origins,
        tables: code.tables,
        debug: debug.clone(),
        register_words: rows.words,
        predicates: rows.predicates,
        fixed: rows.fixed,
        watches,
        params: function.params.clone(),
        param_bytes: function.params.last().map_or(0, |p| p.offset + p.bytes),
        shared_bytes,
        local_bytes,
        registers: (rows.live_registers + 8).next_multiple_of(8).min(255),
        max_threads: function.required_threads.or(function.max_threads).map_or(1024, threads),
        required_threads: function.required_threads,
        global_granule: code.global_granule,
        shared_granule: code.shared_granule,
        order_sensitive: code.order_sensitive,
    })
}

/// Whether a fixed row holds what differs from block to block.
pub fn per_block(slot: &Slot) -> bool {
    matches!(&slot.content, Content::Special(name) if name.starts_with("ctaid") || name.starts_with("cluster") || name == "smid")
}
