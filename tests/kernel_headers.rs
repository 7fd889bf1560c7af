//! The headers, the CUDA sources, the compiled kernels and the engine's table of kernels agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use vf_engine::device::KernelInfo;
use vf_engine::kernels::{FATBINS, RESOURCES, registered};

/// A parameter structure, as its header declares it.
#[derive(Debug)]
struct Params {
    name: String,
    /// Tensors' device addresses.
    pointers: Vec<String>,
    /// Words of four bytes after them.
    words: usize,
    /// Whether some are lists of addresses, whose lengths are constants.
    lists: bool,
}

fn sources(extension: &str) -> Vec<PathBuf> {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let entries = fs::read_dir(kernels).expect("kernels/ can be listed");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("kernels/ can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

/// Every structure of `text`. The rules: addresses first, then scalars of four bytes, an even number of them (no padding), and a
/// comment on the structure and on every address.
fn parse(path: &Path, text: &str) -> Vec<Params> {
    let mut all: Vec<Params> = vec![];
    let mut inside = false;
    let mut documented = false;
    for line in text.lines() {
        let at = format!("{}: `{line}`", path.display());
        if let Some(name) = line.strip_prefix("struct ") {
            assert!(documented, "{at} wants a comment (///) that says what the kernel computes");
            let name = name.trim_end_matches(" {").to_string();
            all.push(Params { name, pointers: vec![], words: 0, lists: false });
            inside = true;
        } else if line == "};" {
            let done = all.last().expect("a structure ends after it began");
            assert!(
                done.words.is_multiple_of(2),
                "{at} leaves four bytes of padding: add `uint32_t reserved;` to {}",
                done.name
            );
            inside = false;
        } else if let (true, Some((declaration, comment))) = (inside, line.split_once(';')) {
            let (kind, names) = declaration.trim().split_once(' ').unwrap_or_else(|| panic!("{at} is no declaration"));
            let structure = all.last_mut().expect("fields lie in a structure");
            match kind {
                "uint64_t" => {
                    assert!(structure.words == 0, "{at}: addresses come before scalars");
                    assert!(documented || comment.contains("///<"), "{at} wants a comment (///<) with the shape");
                    // `grad[ADAMW_LIST]` is a list of as many addresses.
                    let (name, list) = names.split_once('[').map_or((names, false), |(name, _)| (name, true));
                    structure.pointers.push(name.to_string());
                    structure.lists |= list;
                }
                "uint32_t" | "int32_t" | "float" => structure.words += names.split(',').map(words).sum::<usize>(),
                _ => panic!("{at}: uint64_t addresses, then uint32_t, int32_t and float"),
            }
        }
        documented = line.trim_start().starts_with("///");
    }
    all
}

/// The length of a list whose length is a constant; even, and no more is asked of it.
const LIST: usize = 2;

/// `seed[2]` is two words.
fn words(name: &str) -> usize {
    let length = name.split_once('[').map(|(_, rest)| rest.trim_end_matches(']').parse().unwrap_or(LIST));
    length.unwrap_or(1)
}

/// By lower-case name without underscores: `vf_loss_pairs` and `VfLossPairs` are the same.
fn structures() -> BTreeMap<String, Params> {
    // philox.h declares functions; its structure is none of a kernel's.
    let headers = sources("h").into_iter().filter(|path| !path.ends_with("philox.h"));
    let mut all = BTreeMap::new();
    for path in headers {
        for params in parse(&path, &fs::read_to_string(&path).expect("a header can be read")) {
            let twin = all.insert(key(&params.name), params);
            assert!(twin.is_none(), "{}: {twin:?} is declared twice", path.display());
        }
    }
    all
}

fn key(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}

/// What an export macro makes entries for.
const MACROS: [(&str, &[&str]); 3] =
    [("VF_EXPORT(", &["f32", "bf16"]), ("VF_EXPORT_F32(", &["f32"]), ("VF_EXPORT_MATRIX(", &["f32", "tf32", "bf16"])];

/// An export of a `.cu`.
struct Export {
    module: String,
    kernel: String,
    structure: String,
    dtypes: &'static [&'static str],
}

fn exports() -> Vec<Export> {
    let mut all = vec![];
    for path in sources("cu") {
        let module = path.file_stem().expect("a source has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a source can be read");
        for (line, (name, dtypes)) in text.lines().flat_map(|line| MACROS.map(|named| (line, named))) {
            let Some(export) = line.strip_prefix(name) else { continue };
            let mut arguments = export.trim_end_matches(')').split(", ").map(str::to_string);
            let mut next = || arguments.next().expect("an export names the kernel and its parameters");
            all.push(Export { module: module.clone(), kernel: next(), structure: next(), dtypes });
        }
    }
    all
}

#[test]
fn a_kernel_has_the_structure_of_its_name() {
    let structures = structures();
    let kernels = registered();
    for kernel in &kernels {
        let params = structures.get(&key(kernel.name));
        let params = params.unwrap_or_else(|| panic!("kernels/*.h declare no structure for {}", kernel.name));
        assert_eq!(kernel.tensors, params.pointers, "{}: reads and writes are the addresses, in order", kernel.name);
        if params.lists {
            // bindgen's own assertions hold their sizes.
            continue;
        }
        let bytes = 8 * params.pointers.len() + 4 * params.words;
        assert_eq!(kernel.params_bytes, bytes, "{}: the structure has another size in Rust", kernel.name);
    }
    let known: BTreeSet<String> = kernels.iter().map(|kernel| key(kernel.name)).collect();
    for (name, params) in &structures {
        assert!(known.contains(name), "no kernel of the engine has the parameters {}", params.name);
    }
}

#[test]
fn an_export_has_the_structure_of_its_name() {
    let (structures, exports) = (structures(), exports());
    assert!(!exports.is_empty(), "kernels/*.cu export kernels");
    let kernels = registered();
    for Export { module, kernel, structure, .. } in &exports {
        let of = KernelInfo::of_entry(kernel, &kernels);
        let of = of.unwrap_or_else(|| panic!("{module}.cu exports {kernel}, which is no kernel of the engine"));
        assert_eq!(key(of.name), key(structure), "{module}.cu exports {kernel} with another kernel's parameters");
        assert!(structures.contains_key(&key(structure)), "kernels/*.h do not declare {structure}");
    }
    for kernel in &kernels {
        let Some(module) = kernel.cuda_module else { continue };
        let own =
            |export: &&Export| KernelInfo::of_entry(&export.kernel, &kernels).is_some_and(|of| of.name == kernel.name);
        let found = exports.iter().filter(own).any(|export| export.module == module);
        assert!(found, "{module}.cu does not export {}", kernel.name);
    }
}

/// Where nvcc made kernels: each `.cu` is in the binary, and each export is there in all its dtypes on every architecture.
#[test]
fn every_export_is_compiled() {
    if FATBINS.is_empty() {
        assert!(RESOURCES.is_empty());
        return;
    }
    let expected: BTreeSet<(String, String)> = exports()
        .into_iter()
        .flat_map(|Export { module, kernel, dtypes, .. }| {
            dtypes.iter().map(move |dtype| (module.clone(), format!("{kernel}_{dtype}")))
        })
        .collect();
    let modules: BTreeSet<&str> = expected.iter().map(|(module, _)| module.as_str()).collect();
    assert_eq!(FATBINS.iter().map(|fatbin| fatbin.module).collect::<BTreeSet<_>>(), modules);

    let architectures: BTreeSet<&str> = RESOURCES.iter().map(|resources| resources.arch).collect();
    for arch in architectures {
        let there = RESOURCES.iter().filter(|resources| resources.arch == arch);
        let there: BTreeSet<_> = there.map(|r| (r.module.to_string(), r.kernel.to_string())).collect();
        assert_eq!(there, expected, "on {arch}");
    }
    for fatbin in FATBINS {
        // fatbinary.h: the magic number that every image starts with.
        assert_eq!(fatbin.image[..4], 0xBA55_ED50_u32.to_le_bytes(), "{} is no fatbin", fatbin.module);
        assert_eq!(fatbin.image.as_ptr().align_offset(16), 0, "{} is not aligned", fatbin.module);
        let ptx = fatbin.image.windows(b".target sm_80".len()).any(|bytes| bytes == b".target sm_80");
        assert!(ptx, "{} holds no readable PTX", fatbin.module);
    }
}

#[test]
fn every_cuda_source_says_what_it_costs() {
    for path in sources("cu") {
        let text = fs::read_to_string(&path).expect("a source can be read");
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//")).collect();
        for word in ["Formula", "Shapes", "Bytes", "FLOPs", "Scratch", "Rounding", "Source"] {
            let said = header.iter().any(|line| line.starts_with(&format!("// {word}")));
            assert!(said, "{}: the header comment has no line `// {word}`", path.display());
        }
    }
}
