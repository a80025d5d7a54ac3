//! Real `bridge` processes between a real broker and a receiver: nothing is lost, whatever goes away in between, and
//! what is committed is asked of the broker.

mod amqp;
mod closing;
mod dead_letters;
mod kafka;
mod kafka_group;
mod kafka_limits;
mod outages;
mod probes;
mod shared_ids;
pub(crate) mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply, Verifier};
use webhook_bridge::secret::Secret;
use webhook_bridge::sink::signing::{SchemeName, SigningConfig};

use crate::delivery::{Site, header};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A retry soon and again and again, for receivers that recover.
const RETRY_SOON: &str = "retry = { initial = \"200ms\", factor = 1.0, jitter = 0.0 }";

/// Nothing is parked: a delivery that fails holds its source.
const NO_STORE: &str = "[store]\nurl = \"none\"\n";

/// Keys of a sink that signs.
fn signing() -> String {
    format!("signing = {{ secrets = [\"{SECRET}\"] }}")
}

/// A receiver that answers 200 and verifies signatures.
async fn verifying_site() -> Site {
    let signing = SigningConfig::named(SchemeName::default(), vec![Secret::new(SECRET)]);
    let verifier = Verifier::new(&signing).unwrap();
    Site::start(Behaviour { verifier: Some(verifier), ..Behaviour::default() }).await
}

/// A receiver that answers 500 to bodies that hold `poison`, until the flag is set, and 200 to the rest.
async fn site_poisoned_by(poison: &'static str) -> (Site, Arc<AtomicBool>) {
    let cured = Arc::new(AtomicBool::new(false));
    let flag = cured.clone();
    let site = Site::choosing(move |request| {
        let poisoned = request.body.windows(poison.len()).any(|window| window == poison.as_bytes());
        let fails = poisoned && !flag.load(Ordering::Relaxed);
        Reply::status(if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK })
    });
    (site.await, cured)
}

/// How often each event was delivered, by `webhook-id`; attempts that were not answered 200 do not count.
fn deliveries<'a>(requests: impl IntoIterator<Item = &'a ReceivedRequest>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests.into_iter().filter(|request| request.answered_status == Some(StatusCode::OK)) {
        *counts.entry(header(request, "webhook-id").to_owned()).or_default() += 1;
    }
    counts
}

/// Fails unless exactly the expected events were delivered. Returns how many deliveries were one too many.
fn duplicates(delivered: &BTreeMap<String, usize>, expected: &BTreeSet<String>) -> usize {
    let ids: BTreeSet<String> = delivered.keys().cloned().collect();
    let missing: Vec<_> = expected.difference(&ids).take(10).collect();
    let unknown: Vec<_> = ids.difference(expected).take(10).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; never produced: {unknown:?}");
    delivered.values().map(|count| count - 1).sum()
}

/// Collects what a receiver gets until all expected events were delivered.
struct Collected {
    requests: Vec<ReceivedRequest>,
    delivered: BTreeMap<String, usize>,
}

impl Collected {
    fn new() -> Self {
        Self { requests: Vec::new(), delivered: BTreeMap::new() }
    }

    /// Takes what has arrived. Returns how many different events were delivered.
    fn take(&mut self, site: &mut Site) -> usize {
        let requests = site.received();
        for (id, count) in deliveries(&requests) {
            *self.delivered.entry(id).or_default() += count;
        }
        self.requests.extend(requests);
        self.delivered.len()
    }
}
