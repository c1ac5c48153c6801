//! Processes stopped by SIGSTOP.

use crate::process::state_of;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A process that is stopped as long as this lives.
pub struct Stopped<'a> {
    all: &'a Mutex<HashSet<i32>>,
    process: i32,
}

impl<'a> Stopped<'a> {
    /// Stops it, unless it is gone, or somebody else has stopped it already: it goes on when that one says so.
    pub fn stop(all: &'a Mutex<HashSet<i32>>, process: i32) -> Option<Self> {
        if !all.lock().expect("no task panics in here").insert(process) {
            return None;
        }
        let stopped = Self { all, process };
        kill(Pid::from_raw(process), Signal::SIGSTOP).ok()?;
        let end = Instant::now() + Duration::from_millis(100);
        while state_of(process) != Some('T') {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Some(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill(Pid::from_raw(self.process), Signal::SIGCONT);
        self.all.lock().expect("no task panics in here").remove(&self.process);
    }
}
