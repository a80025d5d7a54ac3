//! The options by which the subcommands of `bridge dead` choose letters. This only reads them; what they mean to the
//! database, `store::letters` knows.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use strum::VariantArray as _;

use crate::cli::CliError;
use crate::node::NodeName;
use crate::store::letters::LetterFilter;
use crate::store::record::{Reason, RowId};

/// Which letters; all conditions that are given must hold.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which letters")]
pub(super) struct FilterArgs {
    /// Only those of this sink
    #[arg(long, value_name = "NAME", conflicts_with = "node")]
    sink: Option<String>,
    /// Only those of this node, for example `sources.orders` or `filters.paid`
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only those given up for this reason; may be repeated
    #[arg(long = "reason", value_name = "WORD", value_parser = reason_parser())]
    reasons: Vec<Reason>,
    /// Only those given up since then: a time (2026-11-21T09:00:00Z) or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only those given up before then: a time or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only those of events with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl FilterArgs {
    /// The filter, with these ids (all, when there are none), as seen at `now`.
    pub(super) fn filter(&self, ids: &[RowId], now: Timestamp) -> LetterFilter {
        let node =
            self.sink.as_ref().map(|sink| NodeName::sink(sink.as_str()).to_string()).or_else(|| self.node.clone());
        LetterFilter {
            ids: ids.to_vec(),
            node,
            reasons: self.reasons.clone(),
            since: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
            key: self.key.clone(),
        }
    }

    /// True when no condition is given.
    fn is_empty(&self) -> bool {
        let Self { sink, node, reasons, since, until, key } = self;
        let texts = [sink, node, key];
        texts.iter().all(|text| text.is_none()) && reasons.is_empty() && since.is_none() && until.is_none()
    }
}

/// Which letters, beside a filter, for what changes them: never all of them by an oversight.
#[derive(Debug, Args)]
pub(super) struct ChoiceArgs {
    /// Only the letters of these numbers
    #[arg(value_name = "ID")]
    ids: Vec<RowId>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

impl ChoiceArgs {
    /// The letters that were chosen, of those that are there at `now`. `example` is a filter to name when none was.
    pub(super) fn filter(&self, args: &FilterArgs, now: Timestamp, example: &str) -> Result<LetterFilter, CliError> {
        if !self.all && self.ids.is_empty() && args.is_empty() {
            let message = format!("which letters? Give their numbers, a filter such as {example}, or --all");
            return Err(CliError::Usage(message));
        }
        Ok(args.filter(&self.ids, now).before(now))
    }
}

/// A moment as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let wrong = || format!("`{text}` is no time: write how long ago, as in \"2h\", or \"2026-11-21T09:00:00Z\"");
        text.parse().map(Self::At).map_err(|_| wrong())
    }
}

fn reason_parser() -> impl TypedValueParser<Value = Reason> {
    let words = PossibleValuesParser::new(Reason::VARIANTS.iter().map(|reason| reason.as_str()));
    words.try_map(|word| Reason::from_str(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn filter(args: &[&str]) -> LetterFilter {
        let line = Line::try_parse_from([&["dead"], args].concat()).unwrap();
        line.filter.filter(&[], "2026-11-21T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn moments_are_times_or_durations_ago() {
        let chosen = filter(&["--since", "1d 2h", "--until", "2026-11-21T11:30:00+01:00"]);
        assert_eq!(chosen.since.unwrap().to_string(), "2026-11-20T10:00:00Z");
        assert_eq!(chosen.until.unwrap().to_string(), "2026-11-21T10:30:00Z");
        assert_eq!(filter(&["--since", "99999999y"]).since, Some(Timestamp::MIN));
        for wrong in ["", "yesterday", "2026-11-21", "-2h"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn reasons_are_the_words_of_the_letters() {
        let chosen = filter(&["--reason", "rejected", "--reason", "too-large", "--sink", "crm"]);
        assert_eq!(chosen.reasons, [Reason::Rejected, Reason::TooLarge]);
        assert_eq!(chosen.node.as_deref(), Some("sinks.crm"));
        assert!(Line::try_parse_from(["dead", "--reason", "bored"]).is_err());
        assert!(Line::try_parse_from(["dead", "--sink", "a", "--node", "sinks.b"]).is_err());
    }
}
