//! Which acknowledgements to send: a pure account of what one channel has acknowledged so far.
//!
//! RabbitMQ closes the channel (`PRECONDITION_FAILED - unknown delivery tag`) when an acknowledgement names a message
//! that was acknowledged before, be it with `multiple`. A watermark often comes to rest on such a message, because
//! those above it are acknowledged one by one as they settle; so the tag to send is not simply the watermark.

use std::collections::BTreeSet;

/// What has been acknowledged on one channel. Delivery tags count from 1 without gaps (AMQP 0-9-1, `delivery-tag`).
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    /// Everything up to and including this tag has been acknowledged.
    watermark: u64,
    /// What has been acknowledged above the watermark.
    above: BTreeSet<u64>,
}

impl Acknowledgements {
    /// Moves the watermark. Returns the tag to acknowledge together with all before it, or `None` when nothing below
    /// the watermark is left to acknowledge.
    pub(super) fn up_to(&mut self, watermark: u64) -> Option<u64> {
        if watermark <= self.watermark {
            return None;
        }
        let mut tag = watermark;
        while self.above.contains(&tag) {
            tag -= 1;
        }
        self.above = self.above.split_off(&(watermark + 1));
        let previous = std::mem::replace(&mut self.watermark, watermark);
        (tag > previous).then_some(tag)
    }

    /// Marks one message above the watermark. Returns false when it has been acknowledged before.
    pub(super) fn one(&mut self, tag: u64) -> bool {
        tag > self.watermark && self.above.insert(tag)
    }

    /// How many of the first `received` messages of the channel have not been acknowledged.
    pub(super) fn outstanding(&self, received: u64) -> u64 {
        received.saturating_sub(self.watermark + self.above.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_watermark_on_a_message_acknowledged_before_names_the_last_one_that_was_not() {
        let mut acknowledgements = Acknowledgements::default();
        assert!(acknowledgements.one(3));
        assert!(acknowledgements.one(4));
        assert!(!acknowledgements.one(4));
        assert_eq!(acknowledgements.outstanding(4), 2);
        assert_eq!(acknowledgements.up_to(4), Some(2));
        assert_eq!(acknowledgements.outstanding(4), 0);
        assert_eq!(acknowledgements.up_to(4), None);
        assert!(!acknowledgements.one(2));
    }

    #[test]
    fn nothing_is_sent_for_a_watermark_over_messages_that_are_all_acknowledged() {
        let mut acknowledgements = Acknowledgements::default();
        assert_eq!(acknowledgements.up_to(1), Some(1));
        assert!(acknowledgements.one(2));
        assert_eq!(acknowledgements.up_to(2), None);
        assert_eq!(acknowledgements.up_to(3), Some(3));
    }

    proptest! {
        /// Messages settle in any order and are committed at any time: the broker never hears of a tag twice, and in
        /// the end all of them are acknowledged.
        #[test]
        fn the_broker_knows_every_tag(order in Just((1..=20u64).collect::<Vec<_>>()).prop_shuffle(), batch in 1..8usize) {
            let mut acknowledgements = Acknowledgements::default();
            let mut unacknowledged: BTreeSet<u64> = (1..=20).collect();
            let mut settled: BTreeSet<u64> = BTreeSet::new();
            for tags in order.chunks(batch) {
                settled.extend(tags);
                let watermark = (1..=20).take_while(|tag| settled.contains(tag)).last().unwrap_or(0);
                if let Some(tag) = acknowledgements.up_to(watermark) {
                    prop_assert!(unacknowledged.contains(&tag), "unknown delivery tag {}", tag);
                    prop_assert!(unacknowledged.iter().take_while(|one| **one <= tag).all(|one| settled.contains(one)));
                    unacknowledged = unacknowledged.split_off(&(tag + 1));
                }
                for tag in tags.iter().filter(|tag| **tag > watermark) {
                    prop_assert!(acknowledgements.one(*tag));
                    prop_assert!(unacknowledged.remove(tag), "unknown delivery tag {}", tag);
                }
                prop_assert_eq!(acknowledgements.outstanding(20), unacknowledged.len() as u64);
            }
            prop_assert!(unacknowledged.is_empty());
        }
    }
}
