//! Processes, as the machine shows them in `/proc`.

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;

/// Kills what [`crate::server::Server::command`] started: the process, and its child if it is a runuser.
pub fn kill_program(program: &mut Child) -> Result<()> {
    for child in children_of(program.id())? {
        kill(Pid::from_raw(child), Signal::SIGKILL)?;
    }
    program.kill()?;
    program.wait()?;
    Ok(())
}

pub fn children_of(parent: u32) -> Result<Vec<i32>> {
    let parent = parent.to_string();
    let processes = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(processes.filter(|&process| stat(process, 1).as_ref() == Some(&parent)).collect())
}

/// What a process does, as one letter: T if it is stopped, Z if it is dead.
pub fn state_of(process: i32) -> Option<char> {
    stat(process, 0)?.chars().next()
}

/// A field of the state of a process, if there is one: "pid (name) state parent …".
fn stat(process: i32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit(") ").next()?.split(' ').nth(field)?.to_string())
}
