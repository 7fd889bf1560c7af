//! Checkpoints: what is read is what was written, and nothing that ends a process loses one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vf_engine::checkpoint::{Checkpoint, Entry, Snapshot, export, latest, save};
use vf_engine::error::Error;

const SHAPES: [(&str, &[usize]); 3] = [("model.a", &[2, 3]), ("optim.exp_avg.a", &[2, 3]), ("model.scalar", &[])];

/// Values that differ by step and position, awkward bits among them.
fn values(step: u64, count: usize) -> Vec<f32> {
    (0..count).map(|i| if i == 1 { f32::from_bits(1) } else { step as f32 + i as f32 / 7.0 }).collect()
}

fn write(run: &Path, step: u64, keep_last: Option<usize>) -> Result<PathBuf, Error> {
    let tensors: Vec<_> =
        SHAPES.iter().map(|(name, shape)| (name, shape, values(step, shape.iter().product()))).collect();
    let tensors = tensors.iter().map(|(name, shape, values)| Entry::new(**name, shape, values)).collect();
    save(run, &Snapshot { step, tensors, state: json!({ "seed": u64::MAX, "best": 0.1 + 0.2 }) }, keep_last)
}

fn names(run: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>, run: &Path) -> String {
    result.unwrap_err().to_string().replace(&format!("{}/", run.display()), "")
}

#[test]
fn reads_back_every_bit() {
    let run = tempfile::tempdir().unwrap();
    let path = write(run.path(), 40, None).unwrap();
    assert_eq!(path.file_name().unwrap(), "checkpoint_00000040.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.step(), 40);
    assert_eq!(checkpoint.state(), &json!({ "seed": u64::MAX, "best": 0.1 + 0.2 }));
    assert_eq!(checkpoint.names(), ["model.a", "model.scalar", "optim.exp_avg.a"]);
    for (name, shape) in SHAPES {
        let (found, read) = checkpoint.tensor(name).unwrap();
        assert_eq!(found, shape);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(read), bits(values(40, shape.iter().product())));
    }
    checkpoint.expect(SHAPES).unwrap();
}

#[test]
fn equal_states_make_equal_files() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (write(a.path(), 7, None).unwrap(), write(b.path(), 7, None).unwrap());
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn exports_are_plain_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    export(&path, &[Entry::lazy("conv.weight", &[1, 2], || Ok(vec![1.5, -2.0]))]).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("conv.weight").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::F32, &[1, 2][..]));
    assert_eq!(tensor.data(), [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
    assert_eq!(tensor.data().as_ptr() as usize % 8, bytes.as_ptr() as usize % 8, "values are aligned within the file");
    assert_eq!(
        message(Checkpoint::open(&path), folder.path()),
        "model.safetensors holds no training state: it is not a checkpoint of vf-engine"
    );
}

#[test]
fn keeps_the_last_and_everything_foreign() {
    let run = tempfile::tempdir().unwrap();
    let foreign = [
        "checkpoint_5.safetensors",
        "checkpoint_00000001.safetensors.bak",
        "metrics.jsonl",
        "checkpoint_best.safetensors",
    ];
    for name in foreign {
        fs::write(run.path().join(name), "mine").unwrap();
    }
    fs::write(run.path().join("checkpoint_99999999.safetensors.tmp"), "torn").unwrap();
    assert_eq!(latest(run.path()).unwrap(), None, "neither foreign nor temporary files are checkpoints");
    for step in [10, 20, 30, 100_000_000] {
        write(run.path(), step, Some(2)).unwrap();
    }
    let mut expected: Vec<_> = foreign.iter().map(|&name| name.to_owned()).collect();
    expected.extend(["checkpoint_00000030.safetensors".into(), "checkpoint_100000000.safetensors".into()]);
    expected.sort();
    assert_eq!(names(run.path()), expected);
    assert_eq!(latest(run.path()).unwrap(), Some(run.path().join("checkpoint_100000000.safetensors")));
    // Saved after going back to an earlier step: the file just written stays.
    write(run.path(), 15, Some(1)).unwrap();
    assert!(names(run.path()).contains(&"checkpoint_00000015.safetensors".into()));
}

#[test]
fn damaged_files_get_one_sentence() {
    let run = tempfile::tempdir().unwrap();
    let path = write(run.path(), 1, None).unwrap();
    let whole = fs::read(&path).unwrap();
    let truncated = |length: usize| {
        format!(
            "checkpoint_00000001.safetensors is truncated or damaged: its {length} bytes are not what its header announces"
        )
    };
    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(message(Checkpoint::open(&path), run.path()), truncated(length));
    }
    fs::write(&path, "this is a text, and long enough to look like a header").unwrap();
    assert_eq!(
        message(Checkpoint::open(&path), run.path()),
        "checkpoint_00000001.safetensors is not a safetensors file: header too large"
    );
    let missing = message(Checkpoint::open(&run.path().join("none.safetensors")), run.path());
    assert!(missing.starts_with("none.safetensors: "), "{missing}");
}

/// A safetensors file with one tensor and the given checkpoint document.
fn forge(path: &Path, dtype: &str, bytes: usize, document: &Value) {
    let header = json!({
        "__metadata__": { "vf_engine": document.to_string() },
        "model.a": { "dtype": dtype, "shape": [2], "data_offsets": [0, bytes] },
    });
    let header = header.to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()).unwrap();
}

#[test]
fn unsuitable_files_get_one_sentence() {
    let run = tempfile::tempdir().unwrap();
    let path = run.path().join("c.safetensors");
    let document = |format: u64| json!({ "format": format, "version": "9.1.0", "step": 3, "state": {} });
    forge(&path, "F16", 4, &document(1));
    assert_eq!(
        message(Checkpoint::open(&path), run.path()),
        "c.safetensors holds model.a as F16, but a checkpoint's tensors are F32"
    );
    forge(&path, "F32", 8, &document(2));
    assert_eq!(
        message(Checkpoint::open(&path), run.path()),
        "c.safetensors was written by vf-engine 9.1.0 in format 2, but this version reads formats up to 1"
    );
    forge(&path, "F32", 8, &json!({ "format": 1 }));
    assert!(
        message(Checkpoint::open(&path), run.path())
            .starts_with("c.safetensors has a damaged training state: missing field `version`")
    );

    forge(&path, "F32", 8, &document(1));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let check =
        |tensors: &[(&'static str, &'static [usize])]| message(checkpoint.expect(tensors.iter().copied()), run.path());
    assert_eq!(check(&[("model.a", &[2]), ("model.b", &[1])]), "c.safetensors lacks the tensor model.b");
    assert_eq!(check(&[]), "c.safetensors holds the tensor model.a, which the model does not have");
    assert_eq!(check(&[("model.a", &[1, 2])]), "c.safetensors holds model.a of shape [2], but the model needs [1, 2]");
    assert_eq!(message(checkpoint.tensor("model.b"), run.path()), "c.safetensors lacks the tensor model.b");
}

#[test]
fn a_tensor_that_cannot_be_written_leaves_the_old_checkpoint() {
    let run = tempfile::tempdir().unwrap();
    let before = fs::read(write(run.path(), 1, None).unwrap()).unwrap();
    let attempt =
        |tensors| message(save(run.path(), &Snapshot { step: 1, tensors, state: json!({}) }, Some(1)), run.path());
    let untouched = "checkpoint_00000001.safetensors: could not be written, what was there before is untouched:";
    assert_eq!(
        attempt(vec![Entry::lazy("model.a", &[1], || Err(Error::Device("the device is gone".into())))]),
        format!("{untouched} model.a: the device is gone")
    );
    assert_eq!(
        attempt(vec![Entry::new("model.a", &[2, 2], &[1.0])]),
        format!("{untouched} model.a has 1 values, which do not fit the shape [2, 2]")
    );
    assert_eq!(
        attempt(vec![Entry::new("model.a", &[1], &[1.0]), Entry::new("model.a", &[1], &[1.0])]),
        "checkpoint_00000001.safetensors: two tensors cannot both be called model.a"
    );
    assert_eq!(names(run.path()), ["checkpoint_00000001.safetensors"]);
    assert_eq!(fs::read(run.path().join("checkpoint_00000001.safetensors")).unwrap(), before);
}

/// `/dev/full` answers every write as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let run = tempfile::tempdir().unwrap();
    write(run.path(), 1, Some(1)).unwrap();
    std::os::unix::fs::symlink("/dev/full", run.path().join("checkpoint_00000002.safetensors.tmp")).unwrap();
    let error = write(run.path(), 2, Some(1)).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));
    assert_eq!(
        message::<()>(Err(error), run.path()),
        "checkpoint_00000002.safetensors: could not be written, what was there before is untouched: No space left on device (os error 28)"
    );
    assert_eq!(names(run.path()), ["checkpoint_00000001.safetensors"], "the temporary file is gone");
    Checkpoint::open(&latest(run.path()).unwrap().unwrap()).unwrap();
}

const KILL_FOLDER: &str = "VF_TEST_KILL_FOLDER";

/// Saves over and over in the folder the parent names, until it is killed (or the parent has gone and half a minute is over).
#[test]
#[ignore = "the child process of kill_at_any_moment_leaves_the_last_checkpoint_loadable"]
fn saves_until_killed() {
    let run = std::env::var_os(KILL_FOLDER).expect("started by its parent only");
    let (start, big) = (Instant::now(), vec![1.0; 1 << 20]);
    for step in (1..).take_while(|_| start.elapsed() < Duration::from_secs(30)) {
        let tensors = (0..4).map(|i| Entry::new(format!("t{i}"), &[big.len()], &big)).collect();
        save(Path::new(&run), &Snapshot { step, tensors, state: json!({ "step": step }) }, Some(2)).unwrap();
    }
}

#[test]
fn kill_at_any_moment_leaves_the_last_checkpoint_loadable() {
    let run = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "saves_until_killed"])
            .env(KILL_FOLDER, run.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while round == 0 && latest(run.path()).unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(40 + 23 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let checkpoint = Checkpoint::open(&latest(run.path()).unwrap().unwrap()).unwrap();
        assert_eq!(checkpoint.state(), &json!({ "step": checkpoint.step() }));
        for name in checkpoint.names() {
            assert!(checkpoint.tensor(&name).unwrap().1.iter().all(|&value| value == 1.0));
        }
        before += checkpoint.step();
    }
    assert!(before > 8, "some rounds got past their first save");
}
