//! `src/params.rs` is what bindgen makes of `kernels/*.h`. `cargo xtask bindings` (this test with `VF_BLESS=1`) rewrites it.
//!
//! It lives here, not beside the engine's tests, because it must run while the engine does not compile for want of a structure.

use bindgen::callbacks::{DeriveInfo, ParseCallbacks};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

#[derive(Debug)]
struct Style;

impl ParseCallbacks for Style {
    /// `///<` is C's way to document the field before it.
    fn process_comment(&self, comment: &str) -> Option<String> {
        comment.strip_prefix('<').map(str::to_owned)
    }

    /// `Pod` also makes the compiler refuse a structure with padding.
    fn add_derives(&self, _: &DeriveInfo<'_>) -> Vec<String> {
        vec!["bytemuck::Pod".into(), "bytemuck::Zeroable".into()]
    }
}

const BANNER: &str = "\
//! The kernels' parameter structures and constants, as declared in `kernels/*.h`.
//!
//! Written by bindgen: change the headers, then run `cargo xtask bindings`.
";

/// The bindings to `headers`.
fn generate(root: &Path, headers: &[PathBuf]) -> String {
    let includes: String = headers.iter().map(|path| format!("#include \"{}\"\n", path.display())).collect();
    let bindings = bindgen::builder()
        .header_contents("all.h", &includes)
        .clang_args(["-x", "c", "-std=c11"])
        .allowlist_file(r".*/kernels/[^/]*\.h")
        .blocklist_function(".*")
        .derive_default(true)
        // Rust has no default for long lists, and bindgen's would be unsafe: they are `Zeroable`.
        .no_default("AdamW|AdamWNorm")
        .disable_header_comment()
        .formatter(bindgen::Formatter::None)
        .parse_callbacks(Box::new(Style))
        .generate()
        .expect("bindgen cannot read kernels/*.h");
    format(root, &format!("{BANNER}\n{bindings}"))
}

/// As `cargo fmt` would have it.
fn format(root: &Path, source: &str) -> String {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024"]).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut rustfmt = rustfmt.spawn().expect("rustfmt is installed");
    rustfmt.stdin.take().expect("it is piped").write_all(source.as_bytes()).expect("rustfmt reads");
    let output = rustfmt.wait_with_output().expect("rustfmt ends");
    assert!(output.status.success(), "rustfmt cannot format what bindgen wrote");
    String::from_utf8(output.stdout).expect("rustfmt writes UTF-8")
}

#[test]
fn params_rs_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
    let flag = |name| env::var_os(name).is_some_and(|value| value == "1");
    let libclang = env::var_os("LIBCLANG_PATH").map(PathBuf::from).filter(|path| path.exists());
    if libclang.is_none() {
        assert!(!flag("VF_BLESS") && !flag("VF_REQUIRE_NVCC"), "no libclang: run `cargo xtask provision`");
        eprintln!("not checked, for want of libclang: run `cargo xtask provision`");
        return;
    }

    let mut headers: Vec<PathBuf> = fs::read_dir(root.join("kernels"))
        .expect("kernels/ exists")
        .map(|entry| entry.expect("kernels/ can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "h"))
        .collect();
    headers.sort();
    let fresh = generate(root, &headers);

    let params = root.join("src/params.rs");
    if flag("VF_BLESS") {
        fs::write(&params, fresh).expect("src/params.rs can be written");
        return;
    }
    let current = fs::read_to_string(&params).unwrap_or_default();
    assert!(current == fresh, "src/params.rs is not what bindgen makes of kernels/*.h: run `cargo xtask bindings`");
}
