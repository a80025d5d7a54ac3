//! Attempts: one request, the deliveries that it is for, and the permit under which it is made.
//!
//! A delivery is the obligation to bring one event to one sink, and lasts until that has ended. An attempt is one
//! request, and ends with its verdict. What follows for the deliveries is not decided here.

use std::sync::Arc;
use std::{iter, vec};

use tokio::time::Instant;

use super::breaker::Permit;
use super::schedule::BucketName;
use super::{Deliveries, Delivery};
use crate::sink::verdict::Verdict;
use crate::sink::webhook::Webhook;

/// An attempt that is to be made.
pub(super) struct Attempt {
    pub(super) members: Members,
    pub(super) permit: Permit,
}

/// An attempt that was made.
pub(super) struct Attempted {
    pub(super) members: Members,
    pub(super) permit: Permit,
    pub(super) started: Instant,
    pub(super) verdict: Verdict,
}

/// The deliveries of one attempt: at least one, all of one bucket.
pub(super) struct Members {
    first: Box<Delivery>,
    others: Deliveries,
}

impl Attempt {
    /// The attempt to send what one delivery asks for.
    pub(super) fn of_one(delivery: Box<Delivery>, permit: Permit) -> Self {
        Self { members: Members { first: delivery, others: Vec::new() }, permit }
    }

    /// Sends the request.
    pub(super) async fn make(self, webhook: Arc<Webhook>) -> Attempted {
        let Self { members, permit } = self;
        let started = Instant::now();
        let verdict = webhook.attempt(&members.first.request, &members.first.webhook_id).await;
        Attempted { members, permit, started, verdict }
    }
}

impl Members {
    /// `None` where there is no delivery.
    #[cfg(test)]
    pub(super) fn new(deliveries: impl IntoIterator<Item = Box<Delivery>>) -> Option<Self> {
        let mut deliveries = deliveries.into_iter();
        Some(Self { first: deliveries.next()?, others: deliveries.collect() })
    }

    /// The delivery that stands for all where only one can be named.
    pub(super) fn first(&self) -> &Delivery {
        &self.first
    }

    /// The bucket of the rate limit from which they come.
    pub(super) fn bucket(&self) -> &BucketName {
        &self.first.core.bucket
    }

    /// All of them, in their order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Delivery> {
        iter::once(&mut self.first).chain(&mut self.others).map(AsMut::as_mut)
    }
}

impl IntoIterator for Members {
    type Item = Box<Delivery>;
    type IntoIter = iter::Chain<iter::Once<Box<Delivery>>, vec::IntoIter<Box<Delivery>>>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self.first).chain(self.others)
    }
}
