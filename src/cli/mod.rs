//! The command line: one file per subcommand, with no logic beyond arguments and printing.

/// As the standard library's. But where nobody reads any more, as in `vf-engine info | head`, a command goes on, and ends as it would have.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::write(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::cli::write(format_args!("{}\n", format_args!($($text)*))) };
}

mod bench;
mod eval;
mod extract;
mod features;
mod info;
mod interrupt;
mod sample;
mod schedule;
mod train_dit;
mod train_vae;

use std::fmt;
use std::io::{self, Write};

use clap::{Parser, Subcommand};
use vf_engine::metrics;

/// Trains and samples VA-VAE and LightningDiT with hand-written CUDA kernels; every command also runs on the CPU.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    TrainVae(train_vae::Args),
    Features(features::Args),
    Extract(extract::Args),
    TrainDit(train_dit::Args),
    Sample(sample::Args),
    Eval(eval::Args),
    Bench(bench::Args),
    Info(info::Args),
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::TrainVae(args) => train_vae::run(args),
            Command::Features(args) => features::run(args),
            Command::Extract(args) => extract::run(args),
            Command::TrainDit(args) => train_dit::run(args),
            Command::Sample(args) => sample::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Info(args) => info::run(args),
        }
    }
}

/// Writes to standard output, or ends the process where that cannot be written.
fn write(text: fmt::Arguments) {
    match io::stdout().write_fmt(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            metrics::note(format_args!("error: cannot write to standard output: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}
