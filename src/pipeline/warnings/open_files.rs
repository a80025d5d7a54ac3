//! Whether the limit of open files allows what a pipeline asks for. Pure: what the system says is brought by the caller.

use std::collections::BTreeMap;

use super::warning;
use crate::config::PipelineConfig;
use crate::pipeline::demand::Demand;
use crate::problem::{Problem, Warning, WarningCode};

/// The warning about a limit of open files that is lower than what the pipeline asks for. `matching` has the number of
/// files that match now, for the file sources of which somebody has counted them.
pub fn descriptor_limit(
    config: &PipelineConfig,
    limit: Option<usize>,
    matching: &BTreeMap<String, usize>,
) -> Option<Warning> {
    let limit = limit?;
    let demand = Demand::of(config);
    let counted = demand.files.max(matching.values().sum());
    let (message, help) = Demand { files: counted, ..demand }.beyond(limit)?;
    let most = matching.iter().max_by_key(|(_, count)| **count).filter(|_| demand.beyond(limit).is_none());
    let path = match most {
        Some((source, _)) => vec!["sources", source, "paths"],
        None => vec!["sinks"],
    };
    Some(warning(WarningCode::DescriptorLimit, Problem::new(path, message).with_help(help)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_lenient;

    #[test]
    fn it_stands_at_what_asks_for_too_much() {
        let found = |concurrency: usize, limit, files: usize| {
            let text = format!(
                "name = 'x'\n[sources.a]\ntype = 'file'\npaths = ['a*']\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\n\
                 url = 'https://x/'\nconcurrency = {concurrency}\n"
            );
            let parsed = parse_lenient("x.toml", &text, &|_| None);
            assert_eq!(parsed.faults, []);
            let warning = descriptor_limit(&parsed.pipeline, limit, &BTreeMap::from([("a".to_owned(), files)]));
            warning.map(|warning| warning.problem.path.join("."))
        };
        assert_eq!(found(32, Some(128), 1), None);
        assert_eq!(found(32, Some(128), 300).as_deref(), Some("sources.a.paths"));
        assert_eq!(found(500, Some(128), 300).as_deref(), Some("sinks"));
        assert_eq!(found(500, Some(1024), 300), None);
        assert_eq!(found(500, None, 300), None);
    }
}
