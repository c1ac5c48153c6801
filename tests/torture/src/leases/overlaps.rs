//! Never two leases of one name at once.

use crate::leases::history::Grant;
use std::collections::HashMap;

/// The pairs of grants of one name that were leases at the same time, for sure: each from when its commit was known.
pub fn overlaps(grants: &[Grant]) -> Vec<(&Grant, &Grant)> {
    let mut by_name = HashMap::<&str, Vec<&Grant>>::new();
    for grant in grants.iter().filter(|grant| grant.committed < grant.until) {
        by_name.entry(&grant.name).or_default().push(grant);
    }
    let mut found = vec![];
    for mut grants in by_name.into_values() {
        grants.sort_by_key(|grant| grant.committed);
        let mut open: Vec<&Grant> = vec![];
        for grant in grants {
            open.retain(|other| other.until > grant.committed);
            found.extend(open.iter().map(|&other| (other, grant)));
            open.push(grant);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, token: i64, committed: i64, until: i64) -> Grant {
        Grant { name: name.into(), token, begun: committed - 5, committed, until }
    }

    #[test]
    fn two_at_once_are_found() {
        let wrong = [grant("a", 1, 10, 100), grant("b", 2, 20, 30), grant("a", 3, 99, 150)];
        assert_eq!(overlaps(&wrong), [(&wrong[0], &wrong[2])]);
        // in whatever order they were noted, and also if one is within the other
        let wrong = [grant("a", 2, 20, 30), grant("a", 1, 10, 100), grant("a", 3, 40, 50)];
        assert_eq!(overlaps(&wrong), [(&wrong[1], &wrong[0]), (&wrong[1], &wrong[2])]);
    }

    #[test]
    fn what_may_be_is_not() {
        assert!(overlaps(&[grant("a", 1, 10, 100), grant("a", 2, 100, 150)]).is_empty());
        assert!(overlaps(&[grant("a", 1, 10, 100), grant("b", 2, 50, 150)]).is_empty());
        // Its commit took longer than it lasted: who knows when it began.
        assert!(overlaps(&[grant("a", 1, 10, 100), grant("a", 2, 50, 49)]).is_empty());
    }
}
