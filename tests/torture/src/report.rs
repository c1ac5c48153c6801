//! What was done and what was found.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A check that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which of the checks.
    pub check: &'static str,
    /// What it saw.
    pub what: String,
}

#[derive(Default, Serialize)]
struct Contents {
    server_version: String,
    /// So long it took.
    seconds: u64,
    counts: BTreeMap<String, u64>,
    findings: Vec<Finding>,
}

/// Counts and findings, shared by all tasks.
pub struct Report {
    contents: Mutex<Contents>,
    /// Findings of all these checks are enough; if there are none, nothing is.
    until: Vec<String>,
}

impl Report {
    pub fn new(until: Vec<String>) -> Self {
        Self { contents: Mutex::default(), until }
    }

    /// Says what was tortured.
    pub fn set_version(&self, server_version: &str) {
        self.lock().server_version = server_version.to_string();
    }

    /// Says how long it took.
    pub fn set_seconds(&self, seconds: u64) {
        self.lock().seconds = seconds;
    }

    /// Adds to a count.
    pub fn count(&self, what: &str, by: u64) {
        *self.lock().counts.entry(what.to_string()).or_default() += by;
    }

    /// Keeps the highest of the values given.
    pub fn highest(&self, what: &str, value: u64) {
        let mut contents = self.lock();
        let highest = contents.counts.entry(what.to_string()).or_default();
        *highest = value.max(*highest);
    }

    /// Notes that a check failed.
    pub fn finding(&self, check: &'static str, what: impl Into<String>) {
        let finding = Finding { check, what: what.into() };
        let mut contents = self.lock();
        if contents.findings.len() < 20 {
            eprintln!("FINDING ({check}): {}", finding.what);
        }
        contents.findings.push(finding);
    }

    /// Notes it unless the condition holds.
    pub fn expect(&self, condition: bool, check: &'static str, what: impl FnOnce() -> String) {
        if !condition {
            self.finding(check, what());
        }
    }

    pub fn get(&self, what: &str) -> u64 {
        self.lock().counts.get(what).copied().unwrap_or_default()
    }

    /// Is there no need to go on?
    pub fn enough(&self) -> bool {
        let contents = self.lock();
        let found = |check: &String| contents.findings.iter().any(|finding| finding.check == check);
        !self.until.is_empty() && self.until.iter().all(found)
    }

    pub fn findings(&self) -> usize {
        self.lock().findings.len()
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&*self.lock()).expect("plain data")
    }

    pub fn print(&self) {
        let contents = self.lock();
        println!("\nPostgres {}, after {} s:", contents.server_version, contents.seconds);
        for (what, count) in &contents.counts {
            println!("  {count:>10}  {what}");
        }
        let mut by_check = BTreeMap::<_, u64>::new();
        for finding in &contents.findings {
            *by_check.entry(finding.check).or_default() += 1;
        }
        for (check, count) in by_check {
            println!("  FINDINGS {count:>6}  {check}");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.contents.lock().expect("no task panics while it counts")
    }
}
