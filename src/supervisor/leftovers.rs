//! What a pipeline that has come to its end by itself leaves in its store, said for a person: the exit code is 0, and
//! yet there may be something to do.
//!
//! Nothing is said at a shutdown: the pipeline is to go on another time, and the end must not be held up.

use jiff::Timestamp;
use tracing::warn;

use crate::pipeline::Graph;
use crate::store::StoreError;
use crate::store::config::StoreSettings;
use crate::store::sinks::SinkStates;

/// Looks after a run into what it has left.
pub(super) struct Leftovers {
    settings: Option<StoreSettings>,
    begun: Timestamp,
}

/// The deliveries that are parked for a sink.
struct Parked {
    sink: String,
    count: i64,
    is_disabled: bool,
}

/// What lies in the store at the end of a run.
struct Left {
    /// Of each sink for which deliveries are parked.
    parked: Vec<Parked>,
    /// When the first of them is due.
    first_due: Option<Timestamp>,
    /// Events that have become dead letters since the run has begun.
    died: i64,
}

impl Leftovers {
    /// Of a run that begins now.
    pub(super) fn of_run(graph: &Graph) -> Self {
        let settings = graph.store.as_ref().map(|(_, thread)| thread.settings().clone());
        Self { settings, begun: Timestamp::now() }
    }

    /// Says what is left. The store must be closed by now.
    pub(super) async fn log(self) {
        let Some(settings) = self.settings else { return };
        match read(&settings, self.begun).await {
            Ok(left) => left.log(),
            Err(error) => warn!(%error, "cannot see what the run has left in the store"),
        }
    }
}

async fn read(settings: &StoreSettings, begun: Timestamp) -> Result<Left, StoreError> {
    let mut states = SinkStates::open(settings).await?;
    let died = states.died_since(begun).await?;
    let all = states.all().await?;
    let first_due = all.values().filter_map(|state| state.oldest_due).min();
    let parked = all.into_iter().filter(|(_, state)| state.parked > 0);
    let parked =
        parked.map(|(sink, state)| Parked { sink, count: state.parked, is_disabled: state.disabled.is_some() });
    Ok(Left { parked: parked.collect(), first_due, died })
}

impl Left {
    fn log(&self) {
        if let Some(text) = self.parked_text() {
            warn!("{text}");
        }
        if let Some(text) = self.died_text() {
            warn!("{text}");
        }
    }

    fn parked_text(&self) -> Option<String> {
        let all: i64 = self.parked.iter().map(|parked| parked.count).sum();
        let deliveries = match all {
            0 => return None,
            1 => "1 delivery stays".to_owned(),
            _ => format!("{all} deliveries stay"),
        };
        let sinks: Vec<_> = self.parked.iter().map(Parked::text).collect();
        let due = self.first_due.map(|due| format!(", the first of them due at {due:.0}")).unwrap_or_default();
        Some(format!(
            "{deliveries} parked in the store ({}){due}: `bridge run` delivers them when they are due, and `bridge sinks \
             list` shows them",
            sinks.join("; ")
        ))
    }

    fn died_text(&self) -> Option<String> {
        let letters = match self.died {
            0 => return None,
            1 => "1 dead letter was".to_owned(),
            died => format!("{died} dead letters were"),
        };
        Some(format!("{letters} made in this run: `bridge dead list` says why, `bridge dead replay` sends again"))
    }
}

impl Parked {
    fn text(&self) -> String {
        let Self { sink, count, is_disabled } = self;
        format!("{sink}: {count}{}", if *is_disabled { ", disabled" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_nothing_and_numbers_are_right() {
        let due = "2026-11-21T12:00:00.7Z".parse().ok();
        let left = |parked: &[(&str, i64)], died| {
            let parked = parked.iter().map(|(sink, count)| Parked {
                sink: (*sink).to_owned(),
                count: *count,
                is_disabled: *sink == "gone",
            });
            Left { parked: parked.collect(), first_due: due, died }
        };
        let nothing = left(&[], 0);
        assert_eq!((nothing.parked_text(), nothing.died_text()), (None, None));
        let one = left(&[("crm", 1)], 1);
        let parked = one.parked_text().unwrap();
        assert!(
            parked.starts_with(
                "1 delivery stays parked in the store (crm: 1), the first of them due at 2026-11-21T12:00:00Z: "
            ),
            "{parked}"
        );
        assert!(one.died_text().unwrap().starts_with("1 dead letter was made"));
        let many = left(&[("crm", 2), ("gone", 3)], 7);
        assert!(
            many.parked_text()
                .unwrap()
                .starts_with("5 deliveries stay parked in the store (crm: 2; gone: 3, disabled), ")
        );
        assert!(many.died_text().unwrap().starts_with("7 dead letters were made"));
    }
}
