//! What a run that is resumed with other settings should know about its learning rate.

use vf_engine::config::Schedule;

/// Warns that a learning rate which falls until the last step does so until another one.
pub fn warn_if_moved(schedule: Schedule, planned: u64, steps: u64) {
    let name = match schedule {
        Schedule::Constant => return,
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
    };
    if planned != steps {
        log::warn!(
            "the {name} schedule of the learning rate now ends at step {steps} instead of {planned}: what follows is not what a run \
             of {steps} steps would have done from the beginning"
        );
    }
}
