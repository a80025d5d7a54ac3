//! The keys of an AMQP source, checked and in the types that the protocol wants. No I/O.

use std::path::PathBuf;

use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use url::{Host, Url};

use super::config::{AmqpBind, AmqpConfig, AmqpDeclare};
use super::fields;
use crate::problem::{Problem, did_you_mean};
use crate::secret;
use crate::source::SourceContext;

/// The queue types that can be declared, as RabbitMQ names them.
const QUEUE_TYPES: [&str; 2] = ["classic", "quorum"];
/// The query parameters of the URI that lapin heeds and no key of ours replaces.
const URI_PARAMETERS: [&str; 3] = ["auth_mechanism", "frame_max", "channel_max"];

/// An AMQP source that can be connected.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) uri: AMQPUri,
    /// The broker as it is shown: the URI without user, password and parameters.
    pub(super) broker: String,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    pub(super) declare: Option<Declaration>,
    pub(super) bindings: Vec<Binding>,
    pub(super) consumer_tag: ShortString,
    /// As shown by the broker's management tools.
    pub(super) connection_name: String,
    pub(super) ca_file: Option<PathBuf>,
}

/// How the queue is declared.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) durable: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: FieldTable,
}

/// One binding of the queue.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
}

impl Settings {
    /// Checks all keys and registers the password with the mask of [`secret`].
    ///
    /// # Errors
    /// All faults, not the first.
    pub(super) fn new(context: &SourceContext, config: &AmqpConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut keep = |problem: Problem| problems.push(problem);

        let uri = broker_uri(config).map_err(&mut keep).ok();
        let queue = queue_name(&config.queue).map_err(&mut keep).ok();
        let tag =
            config.consumer_tag.clone().unwrap_or_else(|| format!("bridge-{}-{}", context.pipeline, context.name));
        let consumer_tag = short(&["consumer_tag"], &tag).map_err(&mut keep).ok();
        let declare = config
            .declare
            .as_ref()
            .map(declaration)
            .transpose()
            .map_err(|faults| faults.into_iter().for_each(&mut keep))
            .ok();
        let bindings: Vec<_> = config
            .bind
            .iter()
            .enumerate()
            .filter_map(|(index, bind)| {
                binding(bind).map_err(|fault| keep(fault.under(["bind".to_owned(), index.to_string()]))).ok()
            })
            .collect();
        if config.prefetch == 0 {
            keep(Problem::new(["prefetch"], "must be at least 1: AMQP's 0 means no limit, and memory would have none"));
        }
        if config.ca_file.is_some() && uri.as_ref().is_some_and(|(uri, _)| uri.scheme != lapin::uri::AMQPScheme::AMQPS)
        {
            keep(Problem::new(["ca_file"], "is of no use without TLS").with_help("write `amqps://` in `uri`"));
        }
        match (uri, queue, consumer_tag, declare) {
            (Some((uri, broker)), Some(queue), Some(consumer_tag), Some(declare)) if problems.is_empty() => Ok(Self {
                uri,
                broker,
                queue,
                prefetch: config.prefetch,
                declare,
                bindings,
                consumer_tag,
                connection_name: format!("bridge {}/{}", context.pipeline, context.name),
                ca_file: config.ca_file.clone(),
            }),
            _ => Err(problems),
        }
    }
}

/// The URI for lapin, and the broker as it is shown.
fn broker_uri(config: &AmqpConfig) -> Result<(AMQPUri, String), Problem> {
    let problem = |message: &str| Problem::new(["uri"], message);
    let example = "write it as `amqp://user:password@host:5672/%2f`, or `amqps://` for TLS";
    // No error of a library goes into these problems: some of them repeat the URI, and with it the password.
    let text = config.uri.expose();
    let url = Url::parse(text).map_err(|error| problem(&format!("is not a URI: {error}")).with_help(example))?;
    if let Some(password) = url.password() {
        secret::register(password);
    }
    if !matches!(url.scheme(), "amqp" | "amqps") || url.cannot_be_a_base() {
        return Err(problem("must begin with `amqp://` or `amqps://`").with_help(example));
    }
    if let Some((name, _)) = url.query_pairs().find(|(name, _)| !URI_PARAMETERS.contains(&name.as_ref())) {
        let fault = problem(&format!("has the parameter `{name}`, which is not supported here"));
        return Err(match name.as_ref() {
            "heartbeat" => fault.with_help("use the key `heartbeat`"),
            "cacertfile" => fault.with_help("use the key `ca_file`"),
            _ => fault.with_help(format!("supported are {}", URI_PARAMETERS.join(", "))),
        });
    }
    let mut uri: AMQPUri = text.parse().map_err(|_| {
        problem("has a part that cannot be read: a bad percent-encoding or a bad parameter").with_help(example)
    })?;
    // lapin takes `localhost` for any host that is not a name.
    if let Some(Host::Ipv6(address)) = url.host() {
        uri.authority.host = address.to_string();
    }
    uri.query.heartbeat = Some(heartbeat_seconds(config)?);
    let broker =
        format!("{}://{}:{}{}", uri.scheme, url.host_str().unwrap_or("localhost"), uri.authority.port, url.path());
    Ok((uri, broker))
}

fn heartbeat_seconds(config: &AmqpConfig) -> Result<u16, Problem> {
    let period = config.heartbeat.0;
    match u16::try_from(period.as_secs()) {
        Ok(seconds) if seconds > 0 && period.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(Problem::new(["heartbeat"], "must be a number of whole seconds from 1s to 65535s")),
    }
}

fn queue_name(queue: &str) -> Result<ShortString, Problem> {
    if queue.is_empty() {
        return Err(Problem::new(["queue"], "must not be empty"));
    }
    short(&["queue"], queue)
}

fn declaration(declare: &AmqpDeclare) -> Result<Declaration, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut arguments = declare.arguments.clone();
    if let Some(queue_type) = &declare.queue_type {
        problems.extend(queue_type_problem(declare, queue_type));
        let previous = arguments.insert("x-queue-type".into(), queue_type.as_str().into());
        if previous.is_some() {
            problems.push(Problem::new(["declare", "arguments", "x-queue-type"], "is given already by `type`"));
        }
    } else if arguments.get("x-queue-type").is_some_and(|queue_type| queue_type == "stream") {
        problems.push(streams_are_not_supported(["declare", "arguments", "x-queue-type"]));
    }
    match fields::table_from_json(&arguments) {
        Ok(arguments) if problems.is_empty() => Ok(Declaration {
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments,
        }),
        Ok(_) => Err(problems),
        Err(_) => {
            problems.push(Problem::new(["declare", "arguments"], "has a name of more than 255 bytes"));
            Err(problems)
        }
    }
}

fn queue_type_problem(declare: &AmqpDeclare, queue_type: &str) -> Option<Problem> {
    let path = ["declare", "type"];
    if queue_type == "stream" {
        return Some(streams_are_not_supported(path));
    }
    if !QUEUE_TYPES.contains(&queue_type) {
        let help = did_you_mean(queue_type, QUEUE_TYPES)
            .map_or_else(|| "write `classic` or `quorum`".to_owned(), |name| format!("did you mean `{name}`?"));
        return Some(Problem::new(path, format!("`{queue_type}` is not a queue type")).with_help(help));
    }
    let volatile = !declare.durable || declare.exclusive;
    (queue_type == "quorum" && volatile)
        .then(|| Problem::new(path, "a quorum queue is always durable and never exclusive"))
}

fn streams_are_not_supported<const N: usize>(path: [&str; N]) -> Problem {
    Problem::new(path, "streams are not yet supported").with_help("use `classic` or `quorum`")
}

fn binding(bind: &AmqpBind) -> Result<Binding, Problem> {
    if bind.exchange.is_empty() {
        return Err(Problem::new(
            ["exchange"],
            "must not be empty: every queue is bound to the default exchange already",
        ));
    }
    Ok(Binding {
        exchange: short(&["exchange"], &bind.exchange)?,
        routing_key: short(&["routing_key"], &bind.routing_key)?,
    })
}

/// Names travel as AMQP short strings, which hold 255 bytes.
fn short(path: &[&str], text: &str) -> Result<ShortString, Problem> {
    ShortString::try_new(text).map_err(|_| Problem::new(path.iter().copied(), "is longer than 255 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context() -> SourceContext {
        SourceContext { format: crate::event::Format::Json, ..SourceContext::for_tests("shop", "legacy") }
    }

    fn settings(config: serde_json::Value) -> Result<Settings, Vec<Problem>> {
        Settings::new(&context(), &serde_json::from_value(config).unwrap())
    }

    fn problem(config: serde_json::Value) -> String {
        let problems = settings(config).unwrap_err();
        let shown: Vec<_> = problems.iter().map(|problem| format!("{problem} ({:?})", problem.help)).collect();
        shown.join("\n")
    }

    #[test]
    fn a_short_config_takes_its_defaults() {
        let settings = settings(json!({"uri": "amqp://me:secret-1@rabbit/%2f", "queue": "orders"})).unwrap();
        assert_eq!(settings.broker, "amqp://rabbit:5672/%2f");
        assert_eq!(settings.uri.authority.userinfo.password, "secret-1");
        assert_eq!(settings.uri.vhost, "/");
        assert_eq!(settings.uri.query.heartbeat, Some(30));
        assert_eq!(settings.consumer_tag.as_str(), "bridge-shop-legacy");
        assert_eq!(settings.connection_name, "bridge shop/legacy");
        assert_eq!(settings.prefetch, 256);
        assert!(settings.declare.is_none());
    }

    #[test]
    fn an_ipv6_address_is_not_taken_for_localhost() {
        let settings = settings(json!({"uri": "amqps://[2001:db8::7]/shop", "queue": "orders"})).unwrap();
        assert_eq!(settings.uri.authority.host, "2001:db8::7");
        assert_eq!(settings.broker, "amqps://[2001:db8::7]:5671/shop");
    }

    #[test]
    fn the_queue_type_becomes_an_argument() {
        let declare = json!({"type": "quorum", "arguments": {"x-delivery-limit": 5}});
        let settings = settings(json!({"uri": "amqp://h", "queue": "q", "declare": declare})).unwrap();
        let declaration = settings.declare.unwrap();
        let arguments: serde_json::Map<_, _> = fields::table_to_json(&declaration.arguments).collect();
        assert_eq!(serde_json::Value::from(arguments), json!({"x-delivery-limit": 5, "x-queue-type": "quorum"}));
        assert!(declaration.durable);
    }

    #[test]
    fn every_fault_is_reported_and_no_password() {
        let shown = problem(json!({
            "uri": "amqp://me:pa55word-7@host:5672/%2f?verify=verify_none", "queue": "", "prefetch": 0,
            "consumer_tag": "x".repeat(256), "bind": [{"exchange": "e"}, {"exchange": ""}],
            "declare": {"type": "qorum"},
        }));
        for part in ["uri: ", "queue: ", "prefetch: ", "consumer_tag: ", "bind.1.exchange: ", "did you mean `quorum`?"]
        {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(!shown.contains("pa55word-7"), "{shown}");
        assert_eq!(secret::mask("pa55word-7"), secret::MASK);
    }

    #[test]
    fn a_bad_uri_is_named_without_being_shown() {
        for uri in [
            "amqp:me:hidden-42@host",
            "http://me:hidden-42@host",
            "me:hidden-42@host",
            "amqp://me:hidden-42@host:99999",
            "amqp://me:hidden-42%ff@host",
        ] {
            let shown = problem(json!({"uri": uri, "queue": "q"}));
            assert!(shown.starts_with("uri: "), "{shown}");
            assert!(!shown.contains("hidden-42"), "{shown}");
        }
    }

    #[test]
    fn what_the_broker_would_refuse_is_refused_at_load() {
        let with = |declare: serde_json::Value| problem(json!({"uri": "amqp://h", "queue": "q", "declare": declare}));
        assert!(with(json!({"type": "stream"})).contains("not yet supported"));
        assert!(with(json!({"arguments": {"x-queue-type": "stream"}})).contains("not yet supported"));
        assert!(with(json!({"type": "quorum", "durable": false})).contains("always durable"));
        assert!(with(json!({"type": "quorum", "arguments": {"x-queue-type": "quorum"}})).contains("given already"));
        assert!(problem(json!({"uri": "amqp://h", "queue": "q", "ca_file": "/ca.pem"})).contains("without TLS"));
        assert!(problem(json!({"uri": "amqp://h", "queue": "q", "heartbeat": "500ms"})).contains("whole seconds"));
        assert!(problem(json!({"uri": "amqp://h?heartbeat=10", "queue": "q"})).contains("use the key `heartbeat`"));
    }
}
