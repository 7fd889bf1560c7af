//! What the second stage's commands are tried on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::cli::succeed;

/// A folder with images of three classes, a tokenizer trained for a step, and the latents of the images: made once.
pub struct Workbench {
    folder: TempDir,
}

/// The one of this program.
pub fn bench() -> &'static Workbench {
    static BENCH: OnceLock<Workbench> = OnceLock::new();
    BENCH.get_or_init(Workbench::new)
}

/// Images in it.
pub const IMAGES: usize = 7;

impl Workbench {
    fn new() -> Workbench {
        let bench = Workbench { folder: tempfile::tempdir().unwrap() };
        for i in 0..IMAGES as u32 {
            let class = bench.path("images").join(["apple", "berry", "cherry"][i as usize % 3]);
            fs::create_dir_all(&class).unwrap();
            let pixel = |x: u32, y: u32| image::Rgb([(x * 7 + i * 40) as u8, (y * 6) as u8, (x * y + i) as u8]);
            image::RgbImage::from_fn(40, 36, pixel).save(class.join(format!("{i}.png"))).unwrap();
        }
        let settings = [
            "loss.vf_weight=0",
            "data.features=null",
            "model.ch_mult=[1, 1, 1, 1]",
            "model.resolution=32",
            "model.attn_resolutions=[4]",
            "data.workers=1",
        ];
        let mut train =
            bench.engine(&["train-vae", "--preset", "tiny", "--images", "images", "--out", "vae", "--steps", "1"]);
        settings.iter().for_each(|s| {
            train.args(["--set", s]);
        });
        succeed(&mut train);
        succeed(&mut bench.extract("latents", &["--batch", "2"]));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn engine(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vf-engine"));
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn extract(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.engine(&["extract", "--images", "images", "--tokenizer", "vae", "--out", out]);
        command.args(["--shard", "3"]).args(arguments);
        command
    }

    pub fn train(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.engine(&["train-dit", "--preset", "tiny", "--latents", "latents", "--out", out]);
        command.args(["--set", "train.checkpoint_every=1"]).args(arguments);
        command
    }

    pub fn sample(&self, run: &str, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.engine(&["sample", "--run", run, "--out", out]);
        command.args(arguments);
        command
    }
}
