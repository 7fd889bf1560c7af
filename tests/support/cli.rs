//! Commands of vf-engine as a person runs them, and what their runs leave.

use std::path::Path;
use std::process::{Command, Output};

use vf_engine::checkpoint::{self, Checkpoint};

/// What a command prints that must not fail.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The error that a command ends with: one line.
pub fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    errors[0].to_string()
}

/// All that a command printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The newest checkpoint of a run.
pub fn last_checkpoint(run: &Path) -> Checkpoint {
    Checkpoint::open(&checkpoint::latest(&run.join("checkpoints")).unwrap().expect("a checkpoint")).unwrap()
}

/// The last checkpoints of two runs hold the same bits, and are at the same place.
pub fn assert_same_state(a: &Path, b: &Path) {
    let (a, b) = (last_checkpoint(a), last_checkpoint(b));
    assert_eq!(a.names(), b.names());
    for name in a.names() {
        let bits = |c: &Checkpoint| c.tensor(&name).unwrap().1.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a), bits(&b), "{name}");
    }
    assert_eq!(a.state(), b.state());
}
