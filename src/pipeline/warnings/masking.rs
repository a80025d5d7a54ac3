//! What is worth a second look in values that are masked, and in credentials that are empty. Pure.

use reqwest::header::HeaderName;
use url::Url;

use super::{path, warning};
use crate::config::{Loaded, MaskedValue};
use crate::interpolated::{InterpolatedText, Part};
use crate::problem::{Problem, Warning, WarningCode};
use crate::sink::config::WebhookConfig;
use crate::sink::request::holds_a_secret;
use crate::source::{TypeConfig, kafka};
use crate::template::values::{UrlPlace, url_place};
use crate::{secret, sink};

/// Shorter values are easily guessed, and turn up by chance in what is printed.
const SHORTEST_STRONG: usize = 8;

/// A segment of a URL's path that is this long may well be a secret, as in Slack's webhooks.
const SHORTEST_SECRET_SEGMENT: usize = 16;

/// The warnings about masked values.
pub(super) fn masked_values(file: &Loaded) -> impl Iterator<Item = Warning> {
    file.masked_values().filter_map(|(path, masked)| {
        let reference = &masked.reference;
        let as_variable = reference.replacen("${env:", "${var:", 1);
        if let Some(what) = address(&path, masked) {
            let message = format!("{what} comes from `{reference}`, and is shown as *** in all output");
            let help = match reference.starts_with("${env:") {
                true => format!("write `{as_variable}` if it is no secret"),
                false => "write it out, or take it from `${var:NAME}`, if it is no secret".to_owned(),
            };
            return Some(warning(WarningCode::MaskedAddress, Problem::new(path, message).with_help(help)));
        }
        let weakness = weakness(&masked.value)?;
        let message = format!("what `{reference}` stands for is {weakness}");
        let help = format!("use a longer, random secret; write `{as_variable}` if it is none");
        Some(warning(WarningCode::WeakMask, Problem::new(path, message).with_help(help)))
    })
}

/// What kind of address a masked value is, if it is one.
fn address(path: &[String], masked: &MaskedValue) -> Option<&'static str> {
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    match keys[..] {
        ["sinks", _, "url"] | ["defaults", "webhook", "url"] | ["sources", _, "uri"] | ["store", "url"] => {
            part_of_url(masked)
        }
        ["sources", _, "brokers", _] => Some("the broker's address"),
        ["sources", _, "paths", _] | ["sources", _, "ca_file"] => Some("the path"),
        ["sources", _, "options", option] if option.ends_with(".location") => Some("the path"),
        _ => None,
    }
}

fn part_of_url(masked: &MaskedValue) -> Option<&'static str> {
    let MaskedValue { before, value, after, .. } = masked;
    match url_place(before) {
        UrlPlace::Beginning => {
            let url = Url::parse(value).ok().filter(|url| url.host_str().is_some())?;
            let is_address = matches!(url.path(), "" | "/") && url.query().is_none() && url.password().is_none();
            is_address.then_some("the host")
        }
        UrlPlace::Authority => {
            let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
            // The user's name and password come before the host.
            (!authority.contains('@')).then_some(if before.ends_with(':') { "the port" } else { "the host" })
        }
        UrlPlace::Rest => {
            (!before.contains(['?', '#']) && value.len() < SHORTEST_SECRET_SEGMENT).then_some("a part of the path")
        }
    }
}

/// Why a value is masked badly; an empty one is none.
fn weakness(value: &str) -> Option<&'static str> {
    match value.len() {
        0 => None,
        1..secret::SHORTEST_MASKED => Some("too short to be masked"),
        _ if value.chars().all(|c| c.is_alphabetic() || "-_. ".contains(c)) && value.len() < 2 * SHORTEST_STRONG => {
            Some("an everyday word, which is shown as *** wherever it turns up")
        }
        _ if value.len() < SHORTEST_STRONG => Some("short, and is shown as *** wherever it turns up"),
        _ => None,
    }
}

/// The warnings about credentials that are empty.
pub(super) fn empty_credentials(file: &Loaded) -> Vec<Warning> {
    let mut empty = Vec::new();
    for (name, source) in &file.pipeline.sources {
        match &source.kind {
            TypeConfig::Kafka(kafka) => {
                let is_empty =
                    |(key, value): &(&String, &String)| kafka::holds_a_secret(key) && value.trim().is_empty();
                let options = kafka.options.iter().filter(is_empty);
                empty.extend(options.map(|(key, _)| path(&["sources", name, "options", key])));
            }
            TypeConfig::Amqp(amqp) if has_empty_password(amqp.uri.expose()) => {
                empty.push(path(&["sources", name, "uri"]));
            }
            TypeConfig::Amqp(_) | TypeConfig::File(_) | TypeConfig::Stdin(_) => {}
        }
    }
    if file.pipeline.store.url.as_ref().is_some_and(|url| has_empty_password(url.expose())) {
        empty.push(path(&["store", "url"]));
    }
    let of_nodes = empty.into_iter().map(empty_credential);
    let of_sinks = file.pipeline.sinks.iter().flat_map(|(name, sink)| {
        let sink::TypeConfig::Webhook(webhook) = &sink.kind;
        let paths = empty_headers(webhook).chain(empty_signing_secrets(file, name, webhook));
        paths.map(empty_credential).map(move |warning| warning.under(["sinks", name]))
    });
    of_nodes.chain(of_sinks).collect()
}

fn empty_credential(path: Vec<String>) -> Warning {
    let message = "the credential is empty";
    let help = "set the variable or the file that it comes from, or leave the key out";
    warning(WarningCode::EmptyCredential, Problem::new(path, message).with_help(help))
}

fn empty_headers(webhook: &WebhookConfig) -> impl Iterator<Item = Vec<String>> {
    let headers = webhook.headers.iter().filter(|(name, value)| {
        HeaderName::try_from(name.as_str()).is_ok_and(|name| holds_a_secret(&name))
            && value.template().is_some_and(is_empty_header)
    });
    headers.map(|(name, _)| path(&["headers", name]))
}

/// Nothing, nothing behind the scheme (RFC 9110, 11.4), or a value from elsewhere that is empty.
fn is_empty_header(value: &InterpolatedText) -> bool {
    const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "token", "apikey", "api-key"];
    let text = value.as_str().trim().to_ascii_lowercase();
    let is_empty = |part| matches!(part, Part::Value(value) if value.trim().is_empty());
    text.is_empty() || SCHEMES.contains(&text.as_str()) || value.as_ref().parts().any(is_empty)
}

/// An empty default says that there may be none: before a rotation there is no former secret.
fn empty_signing_secrets(file: &Loaded, sink: &str, webhook: &WebhookConfig) -> Vec<Vec<String>> {
    let secrets = webhook.signing.iter().flat_map(|signing| signing.secrets.iter().enumerate());
    let empty = secrets.filter(|(_, secret)| secret.expose().trim().is_empty());
    let paths = empty.map(|(index, _)| path(&["signing", "secrets", &index.to_string()]));
    paths.filter(|own| !file.written(&[path(&["sinks", sink]), own.clone()].concat()).contains(":-}")).collect()
}

/// Whether a URL has a user's name and an empty password (RFC 3986, 3.2.1).
fn has_empty_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| password.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// The codes and paths of the warnings about masked values and credentials.
    fn found(lines: &str) -> Vec<String> {
        let env = |name: &str| {
            let value = match name {
                "HOST" => "crm.example.com",
                "PORT" => "8080",
                "TENANT" => "acme",
                "WORD" => "production",
                "PIN" => "123",
                "SHORT" => "ab12c",
                "URL" => "https://crm.example.com",
                "HOOK" => "https://hooks.example.com/T00/B00/XXXXXXXXXXXX",
                "TOKEN" => "d41d8cd98f00b204e9800998ecf8427e",
                "SIGNING" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "PASSWORD" => "n0t-An-everyday-w0rd",
                _ => "",
            };
            Some(value.to_owned())
        };
        let file = parse("x.toml", &format!("name = 'x'\n{lines}"), &env).unwrap_or_else(|errors| panic!("{errors}"));
        let found = super::masked_values(&file).chain(super::empty_credentials(&file));
        let found = found.map(|one| {
            assert!(!one.problem.message.contains("crm.example") && !one.problem.message.contains("production"));
            format!("{} {}", one.code.as_str(), one.problem.path.join("."))
        });
        found.collect()
    }

    fn of_sink(lines: &str) -> Vec<String> {
        found(&format!("[sources.a]\ntype = 'stdin'\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\n{lines}"))
    }

    fn of_url(url: &str) -> Vec<String> {
        of_sink(&format!("url = '{url}'"))
    }

    fn of_header(header: &str) -> Vec<String> {
        of_sink(&format!("url = 'https://x/'\nheaders = {{ {header} }}"))
    }

    fn of_source(lines: &str) -> Vec<String> {
        found(&format!("[sources.a]\n{lines}\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://x/'"))
    }

    #[test]
    fn an_address_is_not_to_be_masked() {
        let masked = ["masked-address sinks.b.url"];
        for url in ["https://${env:HOST}/", "https://x:${env:PORT}/", "https://x/${env:TENANT}/y", "${env:URL}/y"] {
            assert_eq!(of_url(url), masked, "{url}");
        }
        for url in [
            "https://${var:HOST}:${var:PORT}/${var:TENANT}",
            "https://x/${env:TOKEN}",
            "${env:HOOK}",
            "https://x/?t=${env:TOKEN}",
            "https://${env:NONE:-x}/",
        ] {
            assert_eq!(of_url(url), [""; 0], "{url}");
        }
        assert_eq!(
            of_source("type = 'kafka'\nbrokers = ['${env:HOST}:9092']\ntopics = ['t']"),
            ["masked-address sources.a.brokers.0"]
        );
        assert_eq!(of_source("type = 'file'\npaths = ['/var/${env:TENANT}/x']"), ["masked-address sources.a.paths.0"]);
        let uri = |uri: &str| of_source(&format!("type = 'amqp'\nqueue = 'q'\nuri = '{uri}'"));
        assert_eq!(uri("amqp://u:${env:PASSWORD}@h/"), [""; 0]);
        assert_eq!(uri("amqp://u:${env:PASSWORD}@${env:HOST}/"), ["masked-address sources.a.uri"]);
    }

    #[test]
    fn a_secret_is_neither_short_nor_a_word() {
        let weak = ["weak-mask sinks.b.headers.X-A"];
        for name in ["WORD", "PIN", "SHORT", "TENANT"] {
            assert_eq!(of_header(&format!("X-A = '${{env:{name}}}'")), weak, "{name}");
            assert_eq!(of_header(&format!("X-A = '${{var:{name}}}'")), [""; 0], "{name}");
        }
        for name in ["TOKEN", "PASSWORD"] {
            assert_eq!(of_header(&format!("X-A = '${{env:{name}}}'")), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_credential_is_not_empty() {
        let empty = ["empty-credential sinks.b.headers.Authorization"];
        for value in
            ["Bearer ${env:NONE}", "", " ", "Bearer ", "basic", "Basic {{base64 \"u:${env:NONE}\"}}", "${var:NONE:-}"]
        {
            assert_eq!(of_header(&format!("Authorization = '{value}'")), empty, "{value}");
        }
        for value in ["Bearer ${env:TOKEN}", "Bearer {{data.token}}", "Basic {{base64 \"u:${env:TOKEN}\"}}"] {
            assert_eq!(of_header(&format!("Authorization = '{value}'")), [""; 0], "{value}");
        }
        assert_eq!(of_header("X-Tenant = ''"), [""; 0]);
        let signing = |secrets: &str| of_sink(&format!("url = 'https://x/'\nsigning.secrets = [{secrets}]"));
        assert_eq!(signing("'${env:SIGNING}', '${env:NONE}'"), ["empty-credential sinks.b.signing.secrets.1"]);
        assert_eq!(signing("'${env:SIGNING}', '${env:NONE:-}'"), [""; 0]);
        let empty = |lines: &str, key: &str| {
            assert_eq!(of_source(lines), [format!("empty-credential sources.a.{key}")]);
        };
        empty("type = 'amqp'\nqueue = 'q'\nuri = 'amqp://u:${env:NONE}@h/'", "uri");
        empty(
            "type = 'kafka'\nbrokers = ['h:1']\ntopics = ['t']\noptions = { 'sasl.password' = '${env:NONE}' }",
            "options.sasl.password",
        );
        let store = "url = 'https://x/'\n[store]\nurl = 'postgres://u:${env:NONE}@db/x'";
        assert_eq!(of_sink(store), ["empty-credential store.url"]);
    }
}
