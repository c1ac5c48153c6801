//! Who held what, when: definite holds, from the moment the answer was received to the moment the release was
//! sent, by one monotonic clock. Two that conflict must not overlap.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// A hold of one lock by one client.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub client: usize,
    pub exclusive: bool,
    pub from: Instant,
    pub until: Instant,
}

/// All definite holds, by key.
#[derive(Default)]
pub struct History(Mutex<HashMap<i64, Vec<Hold>>>);

impl History {
    pub fn add(&self, key: i64, hold: Hold) {
        self.0.lock().expect("no task panics in here").entry(key).or_default().push(hold);
    }

    /// Takes what there is, and returns the pairs that conflict.
    pub fn take_conflicts(&self) -> Vec<(i64, Hold, Hold)> {
        let holds = std::mem::take(&mut *self.0.lock().expect("no task panics in here"));
        holds
            .into_iter()
            .flat_map(|(key, holds)| {
                conflicts(holds).into_iter().map(move |(first, second)| (key, first, second))
            })
            .collect()
    }
}

/// The pairs of holds of one lock that overlap though they exclude each other.
fn conflicts(mut holds: Vec<Hold>) -> Vec<(Hold, Hold)> {
    holds.sort_by_key(|hold| hold.from);
    let mut found = vec![];
    let mut open: Vec<Hold> = vec![];
    for hold in holds {
        open.retain(|other| other.until > hold.from);
        found.extend(
            open.iter()
                .filter(|other| other.client != hold.client && (other.exclusive || hold.exclusive))
                .map(|&other| (other, hold)),
        );
        open.push(hold);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn hold(client: usize, exclusive: bool, from: u64, until: u64) -> Hold {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        let at = |ms| start + Duration::from_millis(ms);
        Hold { client, exclusive, from: at(from), until: at(until) }
    }

    #[test]
    fn overlapping_holds_that_conflict_are_found() {
        assert_eq!(conflicts(vec![hold(1, true, 0, 10), hold(2, true, 5, 15)]).len(), 1);
        assert_eq!(conflicts(vec![hold(1, false, 0, 10), hold(2, true, 9, 15)]).len(), 1);
        assert_eq!(
            conflicts(vec![hold(1, true, 0, 100), hold(2, true, 5, 6), hold(3, false, 50, 60)])
                .len(),
            2
        );
    }

    #[test]
    fn what_may_be_is_not() {
        assert!(conflicts(vec![hold(1, true, 0, 10), hold(2, true, 10, 15)]).is_empty());
        assert!(conflicts(vec![hold(1, false, 0, 10), hold(2, false, 5, 15)]).is_empty());
        assert!(conflicts(vec![hold(1, true, 0, 10), hold(1, true, 5, 15)]).is_empty());
    }
}
