//! Work done ahead of time in threads, handed out in order.

use std::any::Any;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};

/// Items numbered from a first one, each made in one of `workers` threads. Thread k makes items k, k + workers, …
/// after the first, so taking from the threads in turn gives them in order, whatever each item costs.
pub(super) struct Prefetch<T> {
    workers: Vec<Worker<T>>,
    turn: usize,
}

struct Worker<T> {
    items: Option<Receiver<Result<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `workers` threads, each at most two items ahead. `start` is called once for each thread, and what
    /// it returns makes the item of a given number; after an error a thread stops.
    ///
    /// # Errors
    /// [`Error::Data`] if the system has no thread left.
    pub fn new<F>(workers: usize, first: u64, start: impl Fn() -> F) -> Result<Prefetch<T>>
    where
        F: FnMut(u64) -> Result<T> + Send + 'static,
    {
        let spawn = |k: usize| {
            let mut make = start();
            // One item in the channel and one being made or waiting to be sent.
            let (sender, items) = sync_channel(1);
            let work = move || {
                for number in (first + k as u64..).step_by(workers) {
                    let item = make(number);
                    let failed = item.is_err();
                    // A closed channel is how the owner says that it wants no more.
                    if sender.send(item).is_err() || failed {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name(format!("data-{k}")).spawn(work);
            let thread = thread.map_err(|error| Error::data(format!("no thread for decoding images: {error}")))?;
            Ok(Worker { items: Some(items), thread: Some(thread) })
        };
        Ok(Prefetch { workers: (0..workers).map(spawn).collect::<Result<_>>()?, turn: 0 })
    }

    /// The next item, once it is ready.
    ///
    /// # Errors
    /// What making the item gave, or the message of a thread that panicked; the same worker's later items are errors.
    pub fn next(&mut self) -> Result<T> {
        let worker = &mut self.workers[self.turn];
        let item = match worker.items.as_ref().map(Receiver::recv) {
            Some(Ok(item)) => item?,
            _ => return Err(worker.ended()),
        };
        self.turn = (self.turn + 1) % self.workers.len();
        Ok(item)
    }
}

impl<T> Worker<T> {
    fn ended(&mut self) -> Error {
        let reason = match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => panic_message(panic.as_ref()).to_owned(),
            _ => "an earlier error ended it".to_owned(),
        };
        Error::data(format!("a thread that prepares images stopped: {reason}"))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // All channels first, so that the threads end side by side.
        self.workers.iter_mut().for_each(|worker| worker.items = None);
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A panic here was either reported by `next` or concerns items that nobody asked for.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    fn squares(workers: usize, first: u64) -> Prefetch<u64> {
        let slow = |n: u64| {
            thread::sleep(Duration::from_millis(3 * (n % 3)));
            Ok(n * n)
        };
        Prefetch::new(workers, first, || slow).unwrap()
    }

    #[test]
    fn items_come_in_order_from_any_number_of_threads() {
        for workers in [1, 2, 5] {
            let mut items = squares(workers, 4);
            for n in 4..24 {
                assert_eq!(items.next().unwrap(), n * n, "{workers} workers");
            }
        }
    }

    #[test]
    fn threads_do_not_run_away_and_end_when_dropped() {
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let start = move || {
            let count = Arc::clone(&count);
            move |n| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(n)
            }
        };
        let mut items: Prefetch<u64> = Prefetch::new(2, 0, start).unwrap();
        items.next().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(made.load(Ordering::SeqCst) <= 1 + 2 * 2, "at most two items ahead in each thread");
        drop(items);
        assert_eq!(Arc::strong_count(&made), 1, "the threads are gone");
    }

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let start = || |n: u64| if n == 3 { panic!("item {n} is cursed") } else { Ok(n) };
        let mut items = Prefetch::new(2, 0, start).unwrap();
        for n in 0..3 {
            assert_eq!(items.next().unwrap(), n);
        }
        let error = items.next().unwrap_err().to_string();
        assert!(error.contains("item 3 is cursed"), "{error}");
        assert!(items.next().is_err(), "and stays one");
    }

    #[test]
    fn an_error_stays_an_error() {
        let start = || |n: u64| if n == 1 { Err(Error::data("no image")) } else { Ok(n) };
        let mut items = Prefetch::new(1, 0, start).unwrap();
        assert_eq!(items.next().unwrap(), 0);
        assert_eq!(items.next().unwrap_err().to_string(), "no image");
        assert!(items.next().is_err());
    }
}
