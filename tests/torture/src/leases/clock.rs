//! The clock of the machine, which the server and all clients share: what is promised about leases is promised by it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, as exact as the server's timestamps.
pub type Moment = i64;

/// When a call was sent, and answered.
pub type Times = (Moment, Moment);

pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    micros(since)
}

pub fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().expect("within the lifetime of this program")
}

/// Watches that nobody sets the clock meanwhile: no lease excludes anybody then.
pub struct Watch {
    begun: Moment,
    monotonic: Instant,
}

impl Watch {
    pub fn begin() -> Self {
        Self { begun: now(), monotonic: Instant::now() }
    }

    /// Was it set? More than what corrections that run all the time add up to.
    pub fn was_set(&self) -> bool {
        let elapsed = self.monotonic.elapsed();
        let allowed = micros(elapsed / 1000 + Duration::from_millis(20));
        (now() - self.begun - micros(elapsed)).abs() > allowed
    }
}
