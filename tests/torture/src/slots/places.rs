//! Who holds a slot or the whole name, counted outside of the database: from after the grant until before the release.

use crate::report::Report;
use std::sync::{Mutex, MutexGuard};

/// The highest number of slots that a call asks for.
pub const MOST: usize = 8;

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A slot, by a call that asked for so many.
    Slot(usize),
    /// The name itself, exclusively.
    Whole,
}

/// The holders of one name.
#[derive(Default)]
struct Holders {
    whole: usize,
    /// For each number, those that asked for so many slots or fewer. The last of them saw the others.
    slots: [usize; MOST + 1],
}

impl Holders {
    fn change(&mut self, place: Place, change: impl Fn(&mut usize)) {
        match place {
            Place::Whole => change(&mut self.whole),
            Place::Slot(slots) => self.slots[slots..].iter_mut().for_each(change),
        }
    }

    /// Too many of one kind, or of both together.
    fn are_too_many(&self) -> bool {
        self.whole > 1
            || self.whole == 1 && self.slots[MOST] > 0
            || self.slots.iter().enumerate().skip(1).any(|(slots, &holders)| holders > slots)
    }
}

/// The holders of some names.
pub struct Places(Vec<Mutex<Holders>>);

impl Places {
    pub fn new(names: usize) -> Self {
        Self((0..names).map(|_| Mutex::default()).collect())
    }

    fn of(&self, name: usize) -> MutexGuard<'_, Holders> {
        self.0[name].lock().expect("no task panics while it counts")
    }

    /// Called after a grant.
    pub fn taken(&self, name: usize, place: Place, report: &Report) {
        let mut holders = self.of(name);
        holders.change(place, |count| *count += 1);
        if holders.are_too_many() {
            report.finding(
                "never too many",
                format!(
                    "name {name}: exclusive {}, holders of slots of 1 to {MOST} {:?}",
                    holders.whole,
                    &holders.slots[1..]
                ),
            );
        }
    }

    /// Called before a release.
    pub fn left(&self, name: usize, place: Place) {
        self.of(name).change(place, |count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_many(places: &[Place]) -> bool {
        let mut holders = Holders::default();
        places.iter().for_each(|&place| holders.change(place, |count| *count += 1));
        holders.are_too_many()
    }

    #[test]
    fn as_many_as_the_last_of_them_wanted() {
        use Place::*;
        assert!(!too_many(&[Slot(2), Slot(2)]));
        assert!(too_many(&[Slot(2), Slot(2), Slot(2)]));
        assert!(!too_many(&[Slot(1), Slot(2), Slot(3)]));
        assert!(too_many(&[Slot(1), Slot(3), Slot(1)]));
        assert!(!too_many(&[Whole]));
        assert!(too_many(&[Whole, Slot(8)]));
    }

    #[test]
    fn who_has_left_does_not_count() {
        let places = Places::new(1);
        let report = Report::new(vec![]);
        for _ in 0..3 {
            places.taken(0, Place::Slot(1), &report);
            places.left(0, Place::Slot(1));
        }
        assert_eq!(report.findings(), 0);
    }
}
