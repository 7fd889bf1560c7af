//! What kernels do wrong, as the program learns of it: errors that stay, lines on stderr, and a report.

use std::ptr::null_mut;

use serde_json::Value;

use crate::api::{
    Handle, allocate, apart, download, kernel, launch, load, softgpu_take_findings, start, taken, upload,
};

/// A module of the folder of planted bugs.
macro_rules! planted {
    ($name:literal) => {
        load(concat!(include_str!(concat!("../planted/", $name, ".ptx")), "\0").as_bytes())
    };
}

#[test]
fn a_fault_is_the_error_of_every_later_call() {
    let printed = apart("faults::a_fault_is_the_error_of_every_later_call", &[], || {
        start();
        let module = planted!("null_pointer");
        let bug: Handle = get!(cuModuleGetFunction(module, c"null_pointer_bug".as_ptr()));
        let (out, nothing) = (allocate(128), 0u64);
        assert_eq!(launch(bug, 1, 32, 0, null_mut(), args![out, nothing]), 700);
        assert_eq!(
            (call!(cuCtxSynchronize()), call!(cuMemAlloc_v2(&mut 0, 4)), call!(cuMemFree_v2(out))),
            (700, 700, 700)
        );
        assert_eq!(taken(softgpu_take_findings)[0]["kind"], "out_of_bounds");
    });
    let Some(printed) = printed else { return };
    let line = printed.err.lines().find(|line| line.starts_with("softgpu: out of bounds")).expect("a line on stderr");
    for part in ["null_pointer_bug", "block (0,0,0)", "thread (", "null_pointer.cu:", "PTX line "] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn other_faults_have_their_errors() {
    let Some(printed) = apart("faults::other_faults_have_their_errors", &[], || {
        start();
        let module = planted!("device_assert");
        let bug: Handle = get!(cuModuleGetFunction(module, c"device_assert_bug".as_ptr()));
        let labels: Vec<i32> = (0..32).collect();
        let (out, labels) = (allocate(128), upload(&labels));
        assert_eq!(launch(bug, 1, 32, 0, null_mut(), args![out, labels, 31i32]), 710);
    }) else {
        return;
    };
    assert!(printed.err.contains("assertion `label < classes` failed"), "{}", printed.err);
}

#[test]
fn misaligned_addresses_have_their_error() {
    apart("faults::misaligned_addresses_have_their_error", &[], || {
        start();
        let (x, y) = (upload(&[0f32; 3]) + 2, allocate(8));
        assert_eq!(launch(kernel(c"scale"), 1, 32, 0, null_mut(), args![y, x, 1f32, 2i32]), 716);
    });
}

#[test]
fn findings_are_reported_as_json() {
    let files = ["report", "counters"]
        .map(|name| std::env::temp_dir().join(format!("softgpu-{name}-{}.jsonl", std::process::id())));
    let [report, counters] = files.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let variables = [("SOFTGPU_REPORT", report), ("SOFTGPU_COUNTERS", counters)];
    let printed = apart("faults::findings_are_reported_as_json", &variables, || {
        start();
        let (x, y) = (allocate(256), allocate(256));
        // Nothing wrote x. The launch goes on, and so does the program.
        assert_eq!(launch(kernel(c"scale"), 2, 32, 0, null_mut(), args![y, x, 1f32, 64i32]), 0);
        assert_eq!(download::<f32>(y, 64).len(), 64);
        ok!(cuMemFree_v2(y));
        ok!(cuDevicePrimaryCtxRelease_v2(0));
    });
    if printed.is_none() {
        return;
    }
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).expect("a file");
        std::fs::remove_file(path).expect("it was there");
        text
    };
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let launches = lines(&read(counters));
    assert_eq!((launches.len(), &launches[0]["counters"]["global_load_bytes"]), (1, &Value::from(256)));
    let text = read(report);
    let findings = lines(&text);
    let kinds: Vec<&Value> = findings.iter().map(|finding| &finding["kind"]).collect();
    // A leak at the context's end: x, but not the module's variables.
    assert_eq!(kinds, ["uninitialized", "leak"], "{text}");
    assert_eq!((&findings[0]["kernel"], findings[0]["count"].as_u64()), (&Value::from("scale"), Some(64)));
    assert!(findings[0]["ptx_line"].as_u64() > Some(0) && findings[0]["block"].is_array());
    assert!(findings[1]["message"].as_str().expect("words").starts_with("256 bytes"), "{text}");
}

#[test]
fn kernels_print() {
    #[repr(C)]
    struct Mixed {
        tag: u8,
        value: f64,
        pair: [i16; 2],
    }
    let Some(printed) = apart("faults::kernels_print", &[], || {
        start();
        let (mixed, word) = (Mixed { tag: b'#', value: 2.71, pair: [1, -2] }, upload(b"word\0"));
        assert_eq!(launch(kernel(c"say"), 1, 4, 0, null_mut(), args![mixed, word]), 0);
    }) else {
        return;
    };
    for lane in [1, 3] {
        let line = format!("#{lane}| 2.71|-2  |+7|ff|word|1099511627776|100%");
        assert!(printed.out.lines().any(|printed| printed.ends_with(&line)), "{line} in {}", printed.out);
    }
    assert_eq!(printed.out.matches("|word|").count(), 2);
}
