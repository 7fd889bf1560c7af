//! The `vf-engine` command.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use vf_engine::metrics;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    let cli = cli::Cli::parse();
    // As one of the pool's threads: an operation on the CPU then begins at once, and need not wake another thread first.
    match rayon::scope(|_| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            metrics::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
