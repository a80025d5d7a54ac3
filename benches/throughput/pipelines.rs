//! The pipelines that are measured, and the events that go through them.

use std::fmt::Write as _;

/// What happens to an event on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Filter, template, signature.
    Full,
    /// The same with a program in jq in the place of the template.
    Jq,
    /// Nothing: the payload goes out as it came in, unsigned.
    PassThrough,
}

/// Attempts under way at the same time, of the bridge and of the bare loop.
pub(crate) const CONCURRENCY: usize = 64;

/// The pipeline's name, and so that of its state folder.
pub(crate) const NAME: &str = "bench";

impl Shape {
    /// The name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Full => "full-feature",
            Self::Jq => "full-feature with jq",
            Self::PassThrough => "pass-through",
        }
    }

    /// A pipeline file: from `source`, the keys of a source, to the receiver at `url`.
    pub(crate) fn pipeline(self, source: &str, url: &str) -> String {
        let head = format!("name = \"{NAME}\"\n\n[sources.orders]\n{source}\n");
        let sink = |from: &str| {
            format!(
                "\n[sinks.crm]\ntype = \"webhook\"\nfrom = [\"{from}\"]\nurl = \"{url}\"\nconcurrency = {CONCURRENCY}\n"
            )
        };
        match self {
            Self::PassThrough => head + &sink("orders"),
            Self::Full => head + FILTER + TEMPLATE + &sink("paid") + TEMPLATE_AND_SIGNATURE,
            Self::Jq => head + FILTER + PROGRAM + &sink("paid") + TEMPLATE_AND_SIGNATURE,
        }
    }
}

/// Every generated event passes the filter, so that events and webhooks are the same number.
const FILTER: &str = r#"
[filters.paid]
from = ["orders"]
when = "$.data.type == 'order.paid' && $.data.total >= 100"
"#;

const TEMPLATE: &str = r#"
[templates.order]
body = '''{"event": "{{data.type}}", "order": "{{data.id}}", "total": {{data.total}}, "currency": "{{data.currency}}",
 "customer": {"id": "{{data.customer.id}}", "name": "{{data.customer.name}}", "email": "{{data.customer.email}}"},
 "items": {{json data.items}}, "tenant": "{{data.tenant}}"}'''
"#;

/// The same body as the template's.
const PROGRAM: &str = r#"
[templates.order]
jq = '''
.data | { event: .type, order: .id, total, currency,
  customer: (.customer | { id, name, email }),
  items, tenant }
'''
"#;

const TEMPLATE_AND_SIGNATURE: &str = r#"template = "order"

  [sinks.crm.signing]
  secrets = ["whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMi1ieXRlcyEhISE="]
"#;

/// A pipeline file with so many sinks, each behind a filter for one tenant: an event goes to one of them.
pub(crate) fn by_tenant(sinks: usize, source: &str, url: &str) -> String {
    let mut text = format!("name = \"{NAME}\"\n\n[sources.orders]\n{source}\n");
    for tenant in 0..sinks {
        write!(
            text,
            "\n[filters.f{tenant}]\nfrom = [\"orders\"]\nwhen = \"$.data.tenant == 't{tenant}'\"\n\
             \n[sinks.s{tenant}]\ntype = \"webhook\"\nfrom = [\"f{tenant}\"]\nurl = \"{url}\"\n"
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// One event, of about 300 bytes of JSON. Its size does not depend on its number.
pub(crate) fn event(number: usize) -> String {
    event_of("acme", number)
}

fn event_of(tenant: &str, number: usize) -> String {
    format!(
        "{{\"id\":\"o-{number:08}\",\"type\":\"order.paid\",\"total\":{}.5,\"currency\":\"EUR\",\"region\":\"eu\",\
         \"tenant\":\"{tenant}\",\"customer\":{{\"id\":\"c-{:05}\",\"name\":\"Barbara \\\"B\\\" Liskov\",\
         \"email\":\"barbara@example.com\"}},\"items\":[{{\"sku\":\"A-1001\",\"quantity\":2,\"price\":40.25}},\
         {{\"sku\":\"B-2002\",\"quantity\":1,\"price\":40}}]}}",
        100 + number % 900,
        number % 100_000,
    )
}

/// A file's text of so many events.
pub(crate) fn events(count: usize) -> String {
    lines((0..count).map(event))
}

/// A file's text of so many events, of so many tenants in turn.
pub(crate) fn events_of_tenants(tenants: usize, count: usize) -> String {
    lines((0..count).map(|number| event_of(&format!("t{}", number % tenants), number)))
}

fn lines(events: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for event in events {
        text.push_str(&event);
        text.push('\n');
    }
    text
}
