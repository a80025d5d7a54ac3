//! Requests that a receiver must take, and such that it must not, for every scheme of the document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use webhook_bridge::receiver::{Behaviour, ReceivedRequest};
use webhook_bridge::sink::parts::AttemptParts;
use webhook_bridge::sink::signing::{Signer, SigningConfig};

use super::document::{Section, sections};
use crate::delivery::Site;

/// A request, and whether a receiver with this secret is to take it.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) is_right: bool,
    /// As the programs that verify it read it.
    pub(super) request: Value,
}

/// JSON that would be another text if it was parsed and written again.
const BODY: &str = "{\"name\": \"Bärbel \\\"B\\\"\", \"n\": 1.10}";

/// All cases of all schemes.
pub(super) async fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (section, request) in delivered().await {
        let of = |what: &str| format!("{}: {what}", section.scheme);
        let (headers, secrets) = (&request.headers, section.receivers_secrets());
        let case = |what: &str, is_right, request| Case { name: of(what), is_right, request };
        let arrived = as_json(&section, secrets[0], &request.path_and_query, headers, &request.body);
        cases.push(case("as it arrived", true, arrived.clone()));
        cases.push(case("another secret", false, with(&arrived, "secret", secrets[1].into())));
        let changed = BASE64.encode([&request.body[..], b" "].concat());
        cases.push(case("another body", false, with(&arrived, "body", changed.into())));
        cases.push(case("no body", false, with(&arrived, "body", "".into())));
        cases.push(case("no header at all", false, with(&arrived, "headers", json!({}))));
        for header in section.headers() {
            for nonsense in
                ["", " ", "é", "v1", "v1,", "v1a,AAAA", "t=", "t=x,v1", "sha256=", "=,=,;;", &"9".repeat(400)]
            {
                let mut broken = arrived.clone();
                broken["headers"][&header] = nonsense.into();
                cases.push(case(&format!("{header} is {nonsense:.20}"), false, broken));
            }
        }
        cases.extend(signed_here(&section));
    }
    cases
}

/// Cases that a bridge does not send at once: of another time, of two secrets.
fn signed_here(section: &Section) -> Vec<Case> {
    let of = |what: &str| format!("{}: {what}", section.scheme);
    let secrets = section.secrets();
    let sign = |config: &SigningConfig, age: i64, receivers_secret: &str| {
        let url = Url::parse("http://receiver.example/hook?a=1").unwrap();
        let time = Timestamp::from_second(Timestamp::now().as_second() - age).unwrap();
        let id = HeaderValue::from_static("orders/3/1");
        let mut parts = AttemptParts::new(&Method::POST, &url, HeaderMap::new(), BODY.as_bytes(), &id, time);
        Signer::new(config).unwrap().apply(&mut parts);
        as_json(section, receivers_secret, "/hook?a=1", &parts.headers, BODY.as_bytes())
    };
    let mut cases = Vec::new();
    let (one, both) = (section.config(&secrets[..1]), section.config(&secrets));
    let is_timeless = ["github", "shopify"].contains(&section.scheme.as_str());
    for (what, age) in [("of six minutes ago", 360), ("of six minutes ahead", -360)] {
        let request = sign(&one, age, section.receivers_secrets()[0]);
        cases.push(Case { name: of(what), is_right: is_timeless, request });
    }
    for (index, secret) in section.receivers_secrets().into_iter().enumerate() {
        let is_right = index == 0 || both.has_room_for_several();
        cases.push(Case { name: of(&format!("secret {index} of two")), is_right, request: sign(&both, 0, secret) });
    }
    if section.scheme == "custom" {
        let request = with(&sign(&one, 0, section.receivers_secrets()[0]), "path", "/hook?a=2".into());
        cases.push(Case { name: of("another path"), is_right: false, request });
    }
    cases
}

/// A request of a real bridge for every scheme.
async fn delivered() -> Vec<(Section, ReceivedRequest)> {
    let mut site = Site::start(Behaviour::default()).await;
    let mut config = "name = \"it\"\n[sources.input]\ntype = \"stdin\"\n".to_owned();
    for section in sections() {
        let (scheme, url, keys) = (&section.scheme, site.receiver.url(), section.keys(&section.secrets()[..1]));
        config += &format!(
            "[sinks.{scheme}]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/{scheme}?a=b c\"\n\
             [sinks.{scheme}.signing]\n{keys}"
        );
    }
    site.deliver_all(&config, &[BODY]);
    let requests = site.received();
    let of = |scheme: &str| {
        let path = format!("/{scheme}?a=b%20c");
        requests.iter().find(|request| request.path_and_query == path).unwrap().clone()
    };
    sections()
        .into_iter()
        .map(|section| (of(&section.scheme), section))
        .map(|(request, section)| (section, request))
        .collect()
}

fn as_json(section: &Section, secret: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Value {
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    json!({
        "scheme": section.scheme, "secret": secret, "method": "POST", "path": path,
        "headers": headers, "body": BASE64.encode(body),
    })
}

fn with(request: &Value, key: &str, value: Value) -> Value {
    let mut changed = request.clone();
    changed[key] = value;
    changed
}
