//! In charge of how long to wait before trying again.

use std::time::Duration;

/// Exponential, with full jitter: any time from nothing up to a bound that doubles. A crowd that was
/// cut off at one moment then doesn't come back at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The bound after the first failure.
    pub first: Duration,
    /// The highest that the bound grows to.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(250), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The pause after so many failures in a row, not below what the gateway asked for.
    pub fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let jittered = self.bound(failures).mul_f64(rand::random::<f64>());
        match asked {
            // What the gateway says is as well the same for all.
            Some(asked) => asked.min(self.most) + jittered,
            None => jittered,
        }
    }

    fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let backoff = Backoff::default();
        let bounds: Vec<u128> =
            [1, 2, 3, 8, 40].map(|failures| backoff.bound(failures).as_millis()).to_vec();
        assert_eq!(bounds, [250, 500, 1000, 30_000, 30_000]);
        for failures in 1..50 {
            assert!(backoff.pause(failures, None) <= backoff.bound(failures));
        }
        let asked = Duration::from_secs(1);
        assert!(backoff.pause(1, Some(asked)) >= asked);
    }
}
