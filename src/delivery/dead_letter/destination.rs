//! The value of `dead_letter`: where letters are sent. Only the text is looked at here; whether there is such a source
//! or sink, `pipeline::compile` finds out.

use crate::problem::Problem;

/// A destination as it is written in the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationName<'a> {
    /// `name`: a sink of the same file.
    Sink(&'a str),
    /// `kafka:topic` or `kafka@source:topic`.
    Kafka {
        /// The source whose connection is used, when it is named.
        source: Option<&'a str>,
        /// The topic to write to.
        topic: &'a str,
    },
    /// `amqp:exchange/routing-key` or `amqp@source:exchange/routing-key`.
    Amqp {
        /// The source whose connection is used, when it is named.
        source: Option<&'a str>,
        /// The exchange to publish to; empty is the default one, whose routing keys are the names of queues.
        exchange: &'a str,
        /// The routing key; it may hold further slashes.
        routing_key: &'a str,
    },
}

const FORMS: &str = "write \"kafka:topic\", \"amqp:exchange/routing-key\" or the name of a sink";

impl<'a> DestinationName<'a> {
    /// Reads a destination.
    ///
    /// # Errors
    /// What is wrong with the text. The problem's path is empty: the caller knows where the text stands.
    pub fn parse(text: &'a str) -> Result<Self, Problem> {
        let Some((scheme, rest)) = text.split_once(':') else {
            if text.is_empty() {
                return Err(problem("`dead_letter` is empty").with_help(FORMS));
            }
            return Ok(Self::Sink(text));
        };
        let (kind, source) = match scheme.split_once('@') {
            Some((kind, source)) => (kind, Some(source)),
            None => (scheme, None),
        };
        match kind {
            "kafka" => Ok(Self::Kafka { source, topic: topic(rest)? }),
            "amqp" => {
                let (exchange, routing_key) = route(rest)?;
                Ok(Self::Amqp { source, exchange, routing_key })
            }
            _ => Err(problem(&format!("dead letters cannot be sent to `{kind}`")).with_help(FORMS)),
        }
    }
}

/// A topic's name as Kafka allows it (`org.apache.kafka.common.internals.Topic`).
fn topic(name: &str) -> Result<&str, Problem> {
    const LONGEST: usize = 249;
    if name.is_empty() {
        return Err(problem("the topic is missing").with_help("write \"kafka:topic\""));
    }
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() > LONGEST || matches!(name, "." | "..") || !name.chars().all(is_legal) {
        let help = format!("letters, digits, `.`, `_` and `-`, at most {LONGEST} of them");
        return Err(problem(&format!("`{name}` cannot be the name of a topic")).with_help(help));
    }
    Ok(name)
}

fn route(text: &str) -> Result<(&str, &str), Problem> {
    // AMQP's short strings hold 255 bytes.
    const LONGEST: usize = 255;
    let Some((exchange, routing_key)) = text.split_once('/') else {
        let help = "write \"amqp:exchange/routing-key\"; \"amqp:/queue\" sends to a queue, and \"amqp:exchange/\" is \
                    right for an exchange that needs no routing key";
        return Err(problem("a `/` must stand between the exchange and the routing key").with_help(help));
    };
    if exchange.len() > LONGEST || routing_key.len() > LONGEST {
        return Err(problem(&format!("exchange and routing key may have {LONGEST} bytes each")));
    }
    if exchange.is_empty() && routing_key.is_empty() {
        return Err(problem("the exchange and the routing key are missing").with_help(FORMS));
    }
    Ok((exchange, routing_key))
}

fn problem(message: &str) -> Problem {
    Problem::new(Vec::<String>::new(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn destinations_are_read_as_they_are_written() {
        let amqp = |source, exchange, routing_key| DestinationName::Amqp { source, exchange, routing_key };
        let cases = [
            ("crm", DestinationName::Sink("crm")),
            ("kafka:dead", DestinationName::Kafka { source: None, topic: "dead" }),
            ("kafka@orders:dead.v1", DestinationName::Kafka { source: Some("orders"), topic: "dead.v1" }),
            ("amqp:dead/order.paid", amqp(None, "dead", "order.paid")),
            ("amqp:/queue", amqp(None, "", "queue")),
            ("amqp:fanout/", amqp(None, "fanout", "")),
            ("amqp@legacy:dead/a/b:c", amqp(Some("legacy"), "dead", "a/b:c")),
        ];
        for (text, expected) in cases {
            assert_eq!(DestinationName::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_destination_is_refused() {
        let too_long = format!("kafka:{}", "x".repeat(250));
        let cases =
            ["", "kafka:", "kafka:a b", "kafka:..", "amqp:", "amqp:exchange", "amqp:/", "nats:subject", &too_long];
        for text in cases {
            assert!(DestinationName::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// No text makes it panic, and what is accepted is made of parts of the text.
        #[test]
        fn any_text_is_read_or_refused(text in "(kafka|amqp|)[@:/a-z]{0,12}") {
            match DestinationName::parse(&text) {
                Ok(DestinationName::Sink(name)) => prop_assert_eq!(name, &text),
                Ok(DestinationName::Kafka { topic, .. }) => prop_assert!(text.ends_with(topic)),
                Ok(DestinationName::Amqp { exchange, routing_key, .. }) => {
                    let rest = format!("{exchange}/{routing_key}");
                    prop_assert!(text.ends_with(&rest), "{}", rest);
                }
                Err(problem) => prop_assert!(!problem.message.is_empty()),
            }
        }
    }
}
