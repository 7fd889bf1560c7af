//! Whatever a program gives to load, loading ends in a module or an error, never in a panic.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use softgpu::{fatbin, ptx};

const TEXT: &str = include_str!("third_party/softmax.ptx");

/// What is put where it does not belong.
const WORDS: &[&str] = &[
    "18446744073709551615",
    "0xffffffffffffffffU",
    "-9223372036854775808",
    "0f7fc00000",
    "%r<4294967295>;",
    "[4294967295]",
    ".align 0",
    ".align 3",
    ".param .align 8 .b8 x[9223372036854775807];",
    ".shared",
    ".extern",
    ".v4",
    ".b128",
    ".entry",
    ".func",
    "{",
    "}",
    "(",
    ")",
    ";",
    "\n",
    ",",
    "-",
    "@!",
    "\"",
    "/*",
    "//",
    ".loc 4294967295 4294967295 0",
    "$L: .branchtargets $L__BB0_1, $L__BB0_2;",
    "brx.idx %r1, $L;",
];

/// A change of bytes.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// Copies what lies at one place over another.
    Move(Index, Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => at().prop_map(Edit::Cut),
        3 => (at(), 1..40usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        6 => (at(), select(WORDS)).prop_map(|(at, word)| Edit::Insert(at, word.as_bytes().to_vec())),
        3 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        3 => (at(), at(), 1..80usize).prop_map(|(from, to, count)| Edit::Move(from, to, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        if bytes.is_empty() {
            return;
        }
        let place = |at: &Index| at.index(bytes.len());
        match edit {
            Edit::Set(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Edit::Cut(at) => bytes.truncate(place(at)),
            Edit::Remove(at, count) => {
                let at = place(at);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Edit::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Move(from, to, count) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from..bytes.len().min(from + count)].to_vec();
                let end = bytes.len().min(to + part.len());
                bytes.splice(to..end, part);
            }
        }
    }
}

/// A fatbin of one entry, in the layout that `softgpu::fatbin` describes.
fn fatbin_of(packing: u64) -> Vec<u8> {
    let data = match packing {
        0x2000 => lz4_flex::block::compress(TEXT.as_bytes()),
        0x8000 => ruzstd::encoding::compress_to_vec(TEXT.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest),
        _ => TEXT.as_bytes().to_vec(),
    };
    let mut entry = vec![0; 64];
    let mut put = |at: usize, field: &[u8]| entry[at..at + field.len()].copy_from_slice(field);
    put(0, &1u16.to_le_bytes());
    put(4, &64u32.to_le_bytes());
    put(8, &(data.len() as u64).to_le_bytes());
    put(16, &(data.len() as u32).to_le_bytes());
    put(28, &80u32.to_le_bytes());
    put(40, &packing.to_le_bytes());
    put(56, &(TEXT.len() as u64).to_le_bytes());
    let mut file = 0xba55_ed50u32.to_le_bytes().to_vec();
    file.extend([1, 0, 16, 0]);
    file.extend((64 + data.len() as u64).to_le_bytes());
    [file, entry, data].concat()
}

/// Every PTX text beside the tests.
fn texts() -> Vec<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = ["planted", "third_party"].map(|name| std::fs::read_dir(tests.join(name)).expect("a folder of PTX"));
    let mut files: Vec<_> = folders.into_iter().flatten().map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "ptx"));
    files.sort();
    files.into_iter().map(|file| std::fs::read_to_string(file).expect("a text")).collect()
}

#[test]
fn what_is_mutated_below_is_right_before() {
    for packing in [0, 0x2000, 0x8000] {
        assert_eq!(fatbin::ptx_of(&fatbin_of(packing), 80).as_deref(), Ok(TEXT), "packing {packing:#x}");
    }
    for text in texts() {
        assert!(ptx::parse(&text).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_fatbin(bytes in vec(any::<u8>(), 0..400), sm in any::<u32>()) {
        let _ = fatbin::ptx_of(&bytes, sm);
        let mut marked = 0xba55_ed50u32.to_le_bytes().to_vec();
        marked.extend(bytes);
        let _ = fatbin::ptx_of(&marked, sm);
    }

    #[test]
    fn a_header_may_say_anything(fields in vec(any::<u64>(), 10), data in vec(any::<u8>(), 0..64)) {
        let mut file = fatbin_of(0);
        file.truncate(16);
        file.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        file.extend(data);
        let _ = fatbin::ptx_of(&file, 80);
    }

    #[test]
    fn a_damaged_fatbin_is_an_error_or_a_text(
        packing in prop_oneof![Just(0u64), Just(0x2000), Just(0x8000)],
        header in vec((0..80usize, any::<u8>()), 0..4),
        edits in vec(edit(), 0..6),
    ) {
        let mut file = fatbin_of(packing);
        for (at, byte) in header {
            file[at] = byte;
        }
        apply(&mut file, &edits);
        let _ = fatbin::ptx_of(&file, 80);
    }

    #[test]
    fn arbitrary_text_does_not_stop_the_parser(text in "\\PC*", lines in "[.{};,%a-z0-9\\[\\]<>+\\-@!:()= \n]{0,400}") {
        let _ = ptx::parse(&text);
        let _ = ptx::parse(&format!(".version 8.0\n.target sm_80\n.address_size 64\n{lines}"));
        let _ = ptx::parse(&format!(".version 8.0\n.target sm_80\n.visible .entry k() {{\n{lines}\n}}"));
    }

    #[test]
    fn a_damaged_kernel_does_not_stop_the_parser(which in any::<Index>(), edits in vec(edit(), 1..8)) {
        thread_local!(static TEXTS: Vec<String> = texts());
        let mut bytes = TEXTS.with(|texts| which.get(texts).clone().into_bytes());
        apply(&mut bytes, &edits);
        let _ = ptx::parse(&String::from_utf8_lossy(&bytes));
    }
}
