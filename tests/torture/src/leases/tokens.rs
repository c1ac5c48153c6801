//! Of one name no token twice, and tokens in the order of the grants.

use crate::leases::history::Grant;
use std::collections::HashMap;

/// Pairs of grants of one name with one token.
pub fn repeated<'a>(grants: &'a [Grant]) -> Vec<(&'a Grant, &'a Grant)> {
    let mut seen = HashMap::new();
    let again = |grant: &'a Grant| Some((seen.insert((&grant.name, grant.token), grant)?, grant));
    grants.iter().filter_map(again).collect()
}

/// Grants that began when one of that name with a higher token was committed already, after that one.
pub fn out_of_order(grants: &[Grant]) -> Vec<(&Grant, &Grant)> {
    let mut by_begin: Vec<&Grant> = grants.iter().collect();
    by_begin.sort_by_key(|grant| grant.begun);
    let mut by_commit: Vec<&Grant> = grants.iter().collect();
    by_commit.sort_by_key(|grant| grant.committed);
    let mut earlier = by_commit.into_iter().peekable();
    let mut highest = HashMap::<&str, &Grant>::new();
    let mut found = vec![];
    for grant in by_begin {
        while let Some(other) = earlier.next_if(|other| other.committed < grant.begun) {
            let highest = highest.entry(&other.name).or_insert(other);
            if highest.token < other.token {
                *highest = other;
            }
        }
        if let Some(&highest) = highest.get(&*grant.name)
            && highest.token > grant.token
        {
            found.push((highest, grant));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, token: i64, begun: i64, committed: i64) -> Grant {
        Grant { name: name.into(), token, begun, committed, until: committed + 100 }
    }

    #[test]
    fn a_token_that_comes_again_is_found() {
        let wrong = [grant("a", 7, 1, 2), grant("b", 7, 3, 4), grant("a", 7, 5, 6)];
        assert_eq!(repeated(&wrong), [(&wrong[0], &wrong[2])]);
        assert!(repeated(&wrong[..2]).is_empty());
    }

    #[test]
    fn a_token_that_goes_back_is_found() {
        let wrong = [grant("a", 9, 3, 4), grant("a", 7, 1, 2), grant("a", 8, 5, 6)];
        assert_eq!(out_of_order(&wrong), [(&wrong[0], &wrong[2])]);
    }

    #[test]
    fn other_names_have_tokens_of_their_own() {
        assert!(out_of_order(&[grant("a", 9, 3, 4), grant("b", 8, 5, 6)]).is_empty());
    }

    #[test]
    fn of_grants_at_the_same_time_either_may_be_the_first() {
        assert!(out_of_order(&[grant("a", 9, 1, 5), grant("a", 8, 4, 6)]).is_empty());
        assert!(out_of_order(&[grant("a", 9, 1, 4), grant("a", 8, 4, 6)]).is_empty());
        assert!(out_of_order(&[grant("a", 7, 1, 2), grant("a", 8, 3, 4)]).is_empty());
    }
}
