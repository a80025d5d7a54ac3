//! Filters and transforms: their expressions, programs and patterns compiled, each fault with its place.

use super::Compiler;
use super::wiring::{UNMATCHED, Wiring};
use crate::filter::{FilterConfig, Predicate};
use crate::node::{NodeKind, NodeName};
use crate::pipeline::graph::{Stage, StageNode};
use crate::problem::Problem;
use crate::sink::rendering::TemplateCompiler;
use crate::transform::parse::Parser;
use crate::transform::{Transform, TransformConfig};

impl Compiler<'_> {
    /// The filters, then the transforms: in the order of [`PipelineConfig::stages`](crate::config::PipelineConfig::stages),
    /// as the wiring counts them.
    pub(super) fn stages(&mut self, wiring: &Wiring) -> Vec<StageNode> {
        let config = self.config;
        let mut nodes = Vec::new();
        for (name, filter) in &config.filters {
            let predicate = predicate(filter);
            let stage = self.keep(&["filters", name], predicate).map(Stage::Filter);
            nodes.extend(stage.map(|stage| node(NodeKind::Filter, name, stage, wiring)));
        }
        for (name, transform) in &config.transforms {
            let stage = self.transform(name, transform).map(Stage::Transform);
            nodes.extend(stage.map(|stage| node(NodeKind::Transform, name, stage, wiring)));
        }
        nodes
    }

    fn transform(&mut self, name: &str, config: &TransformConfig) -> Option<Transform> {
        let path = ["transforms", name];
        if let Some(parse) = &config.parse {
            let parser = Parser::new(parse).map_err(|problem| vec![problem.under(["parse"])]);
            return self.keep(&path, parser).map(Box::new).map(Transform::Parser);
        }
        // One without both was refused when the file was read.
        let program = config.jq.as_ref()?;
        let mut compiler = TemplateCompiler::new(self.rendering, self.of_programs);
        let program = compiler.compile_program(&["jq"], program);
        self.take_findings(&path, compiler);
        program.map(Box::new).map(Transform::Program)
    }
}

fn node(kind: NodeKind, name: &str, stage: Stage, wiring: &Wiring) -> StageNode {
    let targets = |output: &str| wiring.get(output).cloned().unwrap_or_default();
    let (matched, unmatched) = (targets(name), targets(&format!("{name}{UNMATCHED}")));
    StageNode { name: NodeName::new(kind, name), stage, matched, unmatched }
}

fn predicate(filter: &FilterConfig) -> Result<Predicate, Vec<Problem>> {
    Predicate::parse(&filter.when).map_err(|error| {
        let problem = Problem::new(["when"], format!("in the expression: {error}"));
        let problem = match error.part.clone() {
            Some(range) => problem.with_part(range),
            None => problem,
        };
        vec![match &error.help {
            Some(help) => problem.with_help(help),
            None => problem,
        }]
    })
}
