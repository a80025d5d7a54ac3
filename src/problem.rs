//! A fault in a pipeline file, or what is worth a second look in a sound one, named by its place in the file's tree and
//! not by its place in the text.
//!
//! Every module that checks values of the pipeline file returns these; only `config` knows how a path becomes a line
//! and a column. This module must not know the file's syntax.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// One fault found while a pipeline is loaded or compiled. All of them are collected before anything is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys from the top of the file down to the value at fault, for example `sinks`, `crm`, `url`. The index of an
    /// array element is a key like any other (`"0"`). When the value does not exist, its nearest parent is shown.
    pub path: Vec<String>,
    /// The byte range within the string value at fault, when the fault is only a part of it.
    pub part: Option<std::ops::Range<usize>>,
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Something in a sound pipeline that is probably not meant so. It keeps nothing from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// Where it is, what is the matter and what to write instead.
    pub problem: Problem,
}

/// The kinds of warnings. Their names are for machines to tell them apart, and stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum WarningCode {
    /// `literal-secret`
    LiteralSecret,
    /// `plain-http`
    PlainHttp,
    /// `no-retry`
    NoRetry,
    /// `unused-template`
    UnusedTemplate,
    /// `impossible-comparison`
    ImpossibleComparison,
    /// `unknown-member`
    UnknownMember,
    /// `masked-address`
    MaskedAddress,
    /// `weak-mask`
    WeakMask,
    /// `empty-credential`
    EmptyCredential,
    /// `single-value-repeated`
    SingleValueRepeated,
    /// `unescaped-values`
    UnescapedValues,
    /// `descriptor-limit`
    DescriptorLimit,
    /// `literal-wildcard`
    LiteralWildcard,
    /// `not-an-expression`
    NotAnExpression,
    /// `unused-secret`
    UnusedSecret,
    /// `unsigned-body`
    UnsignedBody,
    /// `same-ids`
    SameIds,
}

impl WarningCode {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What such a warning is about, in one sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::LiteralSecret => "A secret is written out in the pipeline file, and so in its history",
            Self::PlainHttp => "A sink sends its events to another machine without encryption",
            Self::NoRetry => "A sink gives a delivery up after its first failed attempt",
            Self::UnusedTemplate => "No sink uses a template",
            Self::ImpossibleComparison => "A filter compares what can never be equal, because the types differ",
            Self::UnknownMember => "A filter or template asks for what no event has",
            Self::MaskedAddress => "A host, port or path is masked in all output, as if it were a secret",
            Self::WeakMask => "A masked value is too short or too common to be masked well",
            Self::EmptyCredential => "A credential is empty",
            Self::SingleValueRepeated => "A template repeats a block for what is an array only sometimes",
            Self::UnescapedValues => "A body inserts values without escaping, as nothing is known of its content type",
            Self::LiteralWildcard => "A path takes a wildcard from a variable, where it stands for itself",
            Self::DescriptorLimit => "The limit of open files is lower than what the pipeline asks for",
            Self::NotAnExpression => "A template holds an expression of another language, which is sent as it stands",
            Self::UnusedSecret => "A secret signs nothing, as its scheme has room for one signature",
            Self::UnsignedBody => "A signature does not cover the body, which can be changed on the way",
            Self::SameIds => "A sink gets different deliveries of one event under the same id",
        }
    }
}

impl Problem {
    /// A fault of the value at `path`.
    pub fn new<K: Into<String>>(path: impl IntoIterator<Item = K>, message: impl fmt::Display) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), part: None, message: message.to_string(), help: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn with_help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Narrows the fault to a part of the string value.
    #[must_use]
    pub fn with_part(mut self, part: std::ops::Range<usize>) -> Self {
        self.part = Some(part);
        self
    }

    /// Puts keys before the path: a node names its own key, its caller knows where the node stands.
    #[must_use]
    pub fn under<K: Into<String>>(mut self, parents: impl IntoIterator<Item = K>) -> Self {
        let keys = parents.into_iter().map(Into::into).chain(std::mem::take(&mut self.path)).collect();
        self.path = keys;
        self
    }
}

impl Warning {
    /// Puts keys before the path, as [`Problem::under`] does.
    #[must_use]
    pub fn under<K: Into<String>>(self, parents: impl IntoIterator<Item = K>) -> Self {
        Self { problem: self.problem.under(parents), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.message)
    }
}

/// What is wrong with a regular expression. The library's message draws the expression first, and says it in its last line.
pub fn pattern_fault(error: &regex::Error) -> String {
    let message = error.to_string();
    message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The one of `known` that is close enough to `name` for `name` to be a slip of the fingers.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        assert_eq!(did_you_mean("ordesr", ["orders", "legacy"]), Some("orders"));
        assert_eq!(did_you_mean("payments", ["orders", "legacy"]), None);
    }

    #[test]
    fn a_path_grows_from_the_inside_out() {
        let problem = Problem::new(["url"], "is empty").under(["sinks", "crm"]);
        assert_eq!(problem.to_string(), "sinks.crm.url: is empty");
    }
}
