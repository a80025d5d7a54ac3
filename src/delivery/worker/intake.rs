//! What comes to a sink from its queues, and waits there until the store has said whether the sink is disabled.
//!
//! A sink has several queues only for a while: after a reload it reads the one that it had to its end, and then the new one.

use std::collections::VecDeque;

use crate::delivery::control::Queue;
use crate::delivery::{Deliveries, Delivery};

/// The queues of one sink, and what came out of them too early.
pub(super) struct Intake {
    queues: VecDeque<Queue>,
    undecided: Deliveries,
}

/// Deliveries taken from the queue in one go.
const TAKEN_AT_ONCE: usize = 64;

impl Intake {
    pub(super) fn new(queue: Queue) -> Self {
        Self { queues: VecDeque::from([queue]), undecided: Vec::new() }
    }

    /// Adds a queue, to be read after those that are there.
    pub(super) fn add(&mut self, queue: Queue) {
        self.queues.push_back(queue);
    }

    /// Takes what is in the queue into `taken`; nothing when the queue has ended, and the next is read at the next call.
    /// Waits for ever once all have. Cancel safe.
    pub(super) async fn receive(&mut self, taken: &mut Deliveries) {
        let Some(queue) = self.queues.front_mut() else { return std::future::pending().await };
        if queue.recv_many(taken, TAKEN_AT_ONCE).await == 0 {
            self.queues.pop_front();
        }
    }

    /// Lets nobody send anything any more. What is in the queues is still received.
    pub(super) fn close(&mut self) {
        self.queues.iter_mut().for_each(Queue::close);
    }

    /// True when nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.queues.is_empty()
    }

    /// Keeps a delivery until it is known whether the sink is disabled.
    pub(super) fn keep_undecided(&mut self, delivery: Box<Delivery>) {
        self.undecided.push(delivery);
    }

    /// What was kept.
    pub(super) fn take_undecided(&mut self) -> Deliveries {
        std::mem::take(&mut self.undecided)
    }

    /// How many are kept.
    pub(super) fn undecided(&self) -> usize {
        self.undecided.len()
    }
}
