//! What one client knows of a lease that it was granted, and which answers cannot be.

use crate::leases::clock::{Moment, Times};

/// A lease, from the view of who was granted it. Whoever counts the ttl from the moment in which the call was sent has
/// less than there is, from the moment of the answer more; what is judged lies outside of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub token: i64,
    /// The role that took it: that of SET ROLE, if there was one.
    pub role: Option<usize>,
    /// It lasts until then at least,
    pub least: Moment,
    /// and until then at most.
    pub most: Moment,
    /// Was it released, or called lost?
    pub over: bool,
}

impl Lease {
    pub fn taken(name: String, token: i64, role: Option<usize>, times: Times, ttl_ms: i64) -> Self {
        let mut lease = Self { name, token, role, least: 0, most: 0, over: false };
        lease.extend(times, ttl_ms);
        lease
    }

    /// It lasts for the ttl from some moment between these on.
    pub fn extend(&mut self, (sent, answered): Times, ttl_ms: i64) {
        self.least = sent + 1000 * ttl_ms;
        self.most = answered + 1000 * ttl_ms;
    }

    /// The same by a call without an answer, which may be served at any time.
    pub fn perhaps_extend(&mut self, sent: Moment, ttl_ms: i64) {
        self.least = self.least.min(sent + 1000 * ttl_ms);
        self.most = Moment::MAX;
    }

    /// Nobody knows which of both it is.
    pub fn or(self, other: &Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            over: self.over && other.over,
            ..self
        }
    }

    /// Why this answer to "is it ours?" cannot be, if it cannot.
    pub fn contradiction(&self, ours: bool, (sent, answered): Times) -> Option<Contradiction> {
        match ours {
            true if self.over => Some(Contradiction::OursAgain),
            true if sent > self.most => Some(Contradiction::OursTooLong),
            false if !self.over && answered < self.least => Some(Contradiction::LostTooEarly),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// After it was released, or called lost.
    OursAgain,
    /// After its end, whether or not somebody took it.
    OursTooLong,
    /// Though it has not ended, and nobody released it.
    LostTooEarly,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Contradiction::*;

    /// Taken by a call from 10 to 20 ms for 100.
    fn lease() -> Lease {
        Lease::taken("it".into(), 1, None, ms((10, 20)), 100)
    }

    fn ms((from, to): Times) -> Times {
        (1000 * from, 1000 * to)
    }

    #[test]
    fn until_its_end_it_is_ours() {
        assert_eq!(lease().contradiction(true, ms((50, 60))), None);
        assert_eq!(lease().contradiction(false, ms((50, 60))), Some(LostTooEarly));
        assert_eq!(lease().contradiction(false, ms((50, 109))), Some(LostTooEarly));
    }

    #[test]
    fn around_its_end_both_may_be() {
        for times in [(50, 110), (50, 500), (110, 111), (120, 500)] {
            assert_eq!(lease().contradiction(true, ms(times)), None);
            assert_eq!(lease().contradiction(false, ms(times)), None);
        }
    }

    #[test]
    fn after_its_end_it_is_not() {
        assert_eq!(lease().contradiction(true, ms((121, 122))), Some(OursTooLong));
        assert_eq!(lease().contradiction(false, ms((121, 122))), None);
    }

    #[test]
    fn what_is_over_stays_over() {
        let over = Lease { over: true, ..lease() };
        assert_eq!(over.contradiction(true, ms((50, 60))), Some(OursAgain));
        assert_eq!(over.contradiction(false, ms((50, 60))), None);
    }

    #[test]
    fn a_renewal_that_perhaps_was_none() {
        let mut renewed = lease();
        renewed.extend(ms((60, 70)), 200);
        let either = renewed.or(&lease());
        assert_eq!((either.least, either.most), ms((110, 270)));
        assert_eq!(either.contradiction(false, ms((150, 160))), None);
        assert_eq!(either.contradiction(true, ms((200, 210))), None);
        assert_eq!(either.contradiction(true, ms((271, 280))), Some(OursTooLong));
        // Also if it was for a shorter time,
        let mut renewed = lease();
        renewed.extend(ms((60, 70)), 5);
        let either = renewed.or(&lease());
        assert_eq!((either.least, either.most), ms((65, 120)));
        // or may still be under way.
        let mut renewed = lease();
        renewed.perhaps_extend(60_000, 5);
        assert_eq!(renewed.clone().or(&lease()).least, 65_000);
        assert_eq!(renewed.contradiction(true, ms((500, 510))), None);
        assert_eq!(renewed.contradiction(false, ms((63, 64))), Some(LostTooEarly));
    }

    #[test]
    fn a_release_that_perhaps_was_none() {
        let released = Lease { over: true, least: 30_000, ..lease() };
        let either = released.or(&lease());
        assert_eq!((either.least, either.over), (30_000, false));
    }
}
