//! What is worth a second look in how a sink signs. Pure.

use super::warning;
use crate::config::SinkConfig;
use crate::problem::{Problem, Warning, WarningCode};
use crate::sink;
use crate::sink::signing::{SchemeName, SigningConfig};

/// The warnings about a sink's signing, with paths below the sink.
pub(super) fn doubts(sink: &SinkConfig) -> Vec<Warning> {
    let sink::TypeConfig::Webhook(webhook) = &sink.kind;
    let Some(signing) = &webhook.signing else { return Vec::new() };
    let doubts = unused_secrets(signing).into_iter().chain(unsigned_body(signing));
    doubts.map(|doubt| doubt.under(["signing"])).collect()
}

fn unused_secrets(signing: &SigningConfig) -> Vec<Warning> {
    if signing.has_room_for_several() {
        return Vec::new();
    }
    let unused = signing.present_secrets().skip(1).map(|index| {
        let message = format!("the first secret signs alone: `{}` has room for one signature", signing.scheme.name());
        let help = match signing.scheme {
            SchemeName::CUSTOM => "let the value be a list by `separator`, or leave this secret out",
            _ => {
                "leave it out; to change the secret without a gap, let the receiver accept both before the new one \
                  stands first here"
            }
        };
        let problem = Problem::new(["secrets".to_owned(), index.to_string()], message).with_help(help);
        warning(WarningCode::UnusedSecret, problem)
    });
    unused.collect()
}

fn unsigned_body(signing: &SigningConfig) -> Option<Warning> {
    (!signing.covers_the_body()).then(|| {
        let message = "the signature does not cover the body: whoever is on the way can change it";
        let problem = Problem::new(["content"], message).with_help("name `{{body}}` in `content`");
        warning(WarningCode::UnsignedBody, problem)
    })
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// The codes and paths of the warnings about this signing.
    fn found(signing: &str) -> Vec<String> {
        let text = format!(
            "name = 'x'\n[sources.a]\ntype = 'stdin'\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://x/'\n\
             signing = {{ {signing} }}"
        );
        let file = parse("x.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = super::doubts(&file.pipeline.sinks["b"]).into_iter();
        warnings.map(|one| format!("{} {}", one.code.as_str(), one.problem.path.join("."))).collect()
    }

    #[test]
    fn a_secret_without_room_is_told() {
        let secrets = "secrets = ['first-secret-of-all', '', 'second-secret-of-all', 'third-secret-of-all']";
        let of = |scheme: &str| found(&format!("scheme = '{scheme}', {secrets}"));
        for scheme in ["github", "slack", "shopify"] {
            assert_eq!(of(scheme), ["unused-secret signing.secrets.2", "unused-secret signing.secrets.3"], "{scheme}");
        }
        assert_eq!(of("stripe"), [""; 0]);
        assert_eq!(of("standard-webhooks"), [""; 0]);
        let custom = |keys: &str| found(&format!("scheme = 'custom', header = 'X-A', {keys}{secrets}"));
        assert_eq!(custom("").len(), 2);
        assert_eq!(custom("separator = ',', "), [""; 0]);
        assert_eq!(found("scheme = 'github', secrets = ['first-secret-of-all', '']"), [""; 0]);
    }

    #[test]
    fn a_body_that_is_not_signed_is_told() {
        let of = |content: &str| {
            found(&format!(
                "scheme = 'custom', header = 'X-A', content = '{content}', secrets = ['first-secret-of-all']"
            ))
        };
        assert_eq!(of("{{timestamp}}"), ["unsigned-body signing.content"]);
        assert_eq!(of("{{timestamp}}.{{ body }}"), [""; 0]);
    }
}
