//! The protocol of the client programs, for those in Rust: see ../README.md.

use sha2::{Digest, Sha256};
use std::io::BufRead;

/// The key of a name, computed here.
pub fn own_key(parts: &[String]) -> i64 {
    let digest = Sha256::digest(parts.join("-"));
    i64::from_be_bytes(digest[..8].try_into().expect("8 bytes"))
}

/// The version of a crate that this was built with.
pub fn version(name: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let at =
        lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).expect("a locked crate");
    format!("{name} {}", at.split('"').next().unwrap_or_default())
}

/// An array as Postgres writes it.
pub fn array_text(numbers: &[i32]) -> String {
    format!("{{{}}}", numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(","))
}

/// A command of the protocol.
pub enum Command {
    Driver,
    Key(Vec<String>),
    Try(Vec<String>),
    Integer(Vec<String>),
    Wait(i32, Vec<String>),
    Slot(i32, Vec<String>),
    Claim(i32, Vec<String>),
    Acquire(Vec<String>),
    Fail(Vec<String>),
    Commit,
}

/// Those that come on standard input, one a line.
pub fn commands() -> impl Iterator<Item = Command> {
    std::io::stdin().lock().lines().map(|line| parse(&line.expect("a line")))
}

fn parse(line: &str) -> Command {
    let mut words = line.split(' ');
    let command = words.next().expect("a command");
    let number = match command {
        "wait" | "slot" | "claim" => {
            words.next().and_then(|word| word.parse().ok()).expect("a number")
        }
        _ => 0,
    };
    let parts = words
        .map(|word| if word == "-" { vec![] } else { hex::decode(word).expect("hexadecimal") })
        .map(|part| String::from_utf8(part).expect("UTF-8"))
        .collect();
    match command {
        "driver" => Command::Driver,
        "key" => Command::Key(parts),
        "try" => Command::Try(parts),
        "integer" => Command::Integer(parts),
        "wait" => Command::Wait(number, parts),
        "slot" => Command::Slot(number, parts),
        "claim" => Command::Claim(number, parts),
        "acquire" => Command::Acquire(parts),
        "fail" => Command::Fail(parts),
        "commit" => Command::Commit,
        other => panic!("unknown command {other}"),
    }
}
