//! Exponential backoff with jitter. Pure: randomness comes from the caller, waiting is the caller's business.

use std::time::Duration;

/// Waits that grow by a factor up to a bound, each shifted by a random share of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    initial: Duration,
    factor: f64,
    max: Duration,
    jitter: Jitter,
}

/// The share of a wait that is random: 0.2 makes 10 s anything from 8 s to 12 s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

/// A value that a constructor refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// A factor below 1 or not finite.
    #[error("must be a number not below 1")]
    Factor,
    /// A jitter outside 0 to 1.
    #[error("must be between 0 and 1")]
    Jitter,
    /// The longest wait is shorter than the first.
    #[error("must not be shorter than `initial`")]
    Max,
}

impl Jitter {
    /// No randomness.
    pub const NONE: Self = Self(0.0);

    /// A jitter of 0 to 1.
    ///
    /// # Errors
    /// [`InvalidBackoff::Jitter`] for anything else.
    pub fn new(share: f64) -> Result<Self, InvalidBackoff> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(InvalidBackoff::Jitter) }
    }

    /// The wait, shifted by up to the share of it. `random` is evenly spread over 0 to 1.
    pub fn apply(self, wait: Duration, random: f64) -> Duration {
        let shift = self.0 * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(wait.as_secs_f64() * (1.0 + shift)).unwrap_or(wait)
    }
}

impl Backoff {
    /// A backoff that starts at `initial` and grows by `factor` up to `max`.
    ///
    /// # Errors
    /// See [`InvalidBackoff`].
    pub fn new(initial: Duration, factor: f64, max: Duration, jitter: Jitter) -> Result<Self, InvalidBackoff> {
        if !factor.is_finite() || factor < 1.0 {
            return Err(InvalidBackoff::Factor);
        }
        if max < initial {
            return Err(InvalidBackoff::Max);
        }
        Ok(Self { initial, factor, max, jitter })
    }

    /// What connections to brokers wait between attempts: 0.5 s, doubled up to 30 s, a fifth of it random.
    pub const fn reconnect() -> Self {
        Self { initial: Duration::from_millis(500), factor: 2.0, max: Duration::from_secs(30), jitter: Jitter(0.2) }
    }

    /// The wait after the given number of failures in a row, counted from 1. `random` is evenly spread over 0 to 1.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let wait = Duration::try_from_secs_f64(grown).unwrap_or(self.max).min(self.max);
        self.jitter.apply(wait, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_grow_to_the_bound() {
        let jitter = Jitter::new(0.0).unwrap();
        let backoff = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(5), jitter).unwrap();
        let waits: Vec<u64> = (1..=5).map(|failures| backoff.wait(failures, 0.7).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn impossible_values_are_refused() {
        let second = Duration::from_secs(1);
        let jitter = Jitter::new(0.2).unwrap();
        assert_eq!(Backoff::new(second, 0.5, second, jitter), Err(InvalidBackoff::Factor));
        assert_eq!(Backoff::new(second, f64::NAN, second, jitter), Err(InvalidBackoff::Factor));
        assert_eq!(Backoff::new(second, 2.0, Duration::ZERO, jitter), Err(InvalidBackoff::Max));
        assert_eq!(Jitter::new(1.1), Err(InvalidBackoff::Jitter));
        assert_eq!(Jitter::new(f64::NAN), Err(InvalidBackoff::Jitter));
    }

    proptest! {
        /// No wait leaves the band that jitter allows around the bounded wait, and without jitter none shrinks.
        #[test]
        fn waits_stay_in_their_band(
            initial_ms in 1_u64..100_000, factor in 1.0_f64..10.0, max_ms in 1_u64..10_000_000,
            share in 0.0_f64..=1.0, failures in 1_u32..200, random in 0.0_f64..=1.0,
        ) {
            let initial = Duration::from_millis(initial_ms);
            let max = Duration::from_millis(max_ms.max(initial_ms));
            let plain = Backoff::new(initial, factor, max, Jitter::new(0.0).unwrap()).unwrap();
            let jittered = Backoff::new(initial, factor, max, Jitter::new(share).unwrap()).unwrap();
            let base = plain.wait(failures, random);
            prop_assert!(base >= initial.min(max) && base <= max);
            prop_assert!(plain.wait(failures + 1, random) >= base);
            let wait = jittered.wait(failures, random).as_secs_f64();
            let tolerance = 1e-6;
            prop_assert!(wait >= base.as_secs_f64() * (1.0 - share) - tolerance);
            prop_assert!(wait <= base.as_secs_f64() * (1.0 + share) + tolerance);
        }
    }
}
