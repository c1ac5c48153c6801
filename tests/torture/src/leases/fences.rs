//! No fenced write lands after a takeover.

use crate::leases::history::{Grant, Write};
use std::collections::HashMap;

/// Fenced writes that were committed when a later lease of the name was, with that.
pub fn late_writes<'a>(grants: &'a [Grant], writes: &'a [Write]) -> Vec<(&'a Write, &'a Grant)> {
    let mut by_name = HashMap::<&str, Vec<&Grant>>::new();
    for grant in grants {
        by_name.entry(&grant.name).or_default().push(grant);
    }
    let takeover = |write: &&'a Write| {
        let later = by_name.get(&*write.name)?.iter();
        let found = later
            .filter(|grant| grant.token > write.token && grant.committed < write.commit_sent)
            .min_by_key(|grant| grant.committed)?;
        Some((*write, *found))
    };
    writes.iter().filter_map(|write| takeover(&write)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, token: i64, committed: i64) -> Grant {
        Grant { name: name.into(), token, begun: committed - 5, committed, until: committed + 100 }
    }

    fn write(name: &str, token: i64, commit_sent: i64) -> Write {
        Write { name: name.into(), token, commit_sent }
    }

    #[test]
    fn a_write_after_a_takeover_is_found() {
        let grants = [grant("a", 1, 10), grant("a", 2, 120), grant("a", 3, 230)];
        let writes = [write("a", 1, 50), write("a", 1, 121), write("a", 3, 240)];
        assert_eq!(late_writes(&grants, &writes), [(&writes[1], &grants[1])]);
    }

    #[test]
    fn a_write_before_it_may_be_and_so_may_one_beside_it() {
        let grants = [grant("a", 1, 10), grant("a", 2, 120), grant("b", 3, 20)];
        let writes = [write("a", 1, 120), write("a", 1, 50), write("a", 2, 500)];
        assert!(late_writes(&grants, &writes).is_empty());
    }
}
