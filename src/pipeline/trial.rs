//! What an event would become: taken through the compiled graph as the router does, with no network, no state, and a
//! clock that stands still.
//!
//! A delivery ends here with the request of its first attempt, signature included; a letter that `dead_letter` sends to
//! another sink is followed there. What only a receiver's answer could bring about does not happen. Whether the outcome
//! is the right one, others judge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::Instant;
use uuid::Uuid;

use super::dead_letters::event_of;
use super::graph::{Graph, LetterTarget, SourceNode, Target};
use super::router::defect_of_source;
use super::routes::{Failure, Prepared, RouteEnd, Routes};
use super::walk::Decision;
use crate::config::test_case::{TestCase, TestEvent};
use crate::delivery::Delivery;
use crate::event::{Envelope, Event, Format, Meta, MetaValue};
use crate::node::{NodeKind, NodeName};
use crate::source::Defect;
use crate::store::record::Reason;
use crate::template;
use crate::transform::{Transform, Transformed};

/// One thing that an event becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A delivery, as its first attempt would send it.
    Delivery(Box<FirstAttempt>),
    /// A dead letter.
    DeadLetter {
        /// The node that gives the event up.
        node: NodeName,
        /// Why, in a word.
        reason: Reason,
        /// Why, in a sentence, secrets masked.
        message: String,
    },
}

/// The request of a delivery's first attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstAttempt {
    /// The sink's name.
    pub sink: Arc<str>,
    /// The method.
    pub method: String,
    /// The URL.
    pub url: Url,
    /// The headers, but for those that the HTTP client adds itself.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What becomes of an event, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Deliveries in the order of the sinks in the file, and dead letters.
    pub outcomes: Vec<Outcome>,
    /// What the filters and transforms on the way did.
    pub decisions: Vec<Decision>,
}

/// The clock and the ids that templates of a graph for trials see. The graph must be compiled with its
/// [`options`](Self::options).
#[derive(Debug, Clone, Default)]
pub struct FrozenClock {
    now: Arc<Mutex<Timestamp>>,
    ids: Arc<AtomicU64>,
}

impl FrozenClock {
    /// What templates are to be compiled with.
    pub fn options(&self) -> template::Options {
        let (now, ids) = (Arc::clone(&self.now), Arc::clone(&self.ids));
        template::Options {
            clock: Arc::new(move || *now.lock().unwrap_or_else(PoisonError::into_inner)),
            ids: Arc::new(move || numbered_uuid(ids.fetch_add(1, Ordering::Relaxed) + 1)),
            ..template::Options::default()
        }
    }

    /// Stops the clock at `now`, and begins with the first id again.
    fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.ids.store(0, Ordering::Relaxed);
    }
}

/// Takes events through a graph.
pub struct Trial<'a> {
    graph: &'a Graph,
    routes: Routes,
    clock: &'a FrozenClock,
}

impl<'a> Trial<'a> {
    /// Trials of a graph that was compiled with the options of `clock`.
    pub fn new(graph: &'a Graph, clock: &'a FrozenClock) -> Self {
        Self { graph, routes: graph.routes(), clock }
    }

    /// Takes the event of a test through the graph.
    pub fn run(&self, test: &TestCase) -> Course {
        self.clock.set(test.now);
        // A test of a source that is not there was refused when the file was read.
        let Some(source) = self.graph.sources.iter().find(|source| *source.name == *test.source) else {
            return Course { outcomes: Vec::new(), decisions: Vec::new() };
        };
        let event = Arc::new(event_of_test(&test.event, source, source.format));
        let mut outcomes = Vec::new();
        let size = event.size();
        if size > source.bounds.max_event_size {
            let defect = Defect::TooLarge { size: size as u64, limit: source.bounds.max_event_size };
            self.give_up(defect_of_source(event, &source.name, &defect), source, test.now, &mut outcomes);
            return Course { outcomes, decisions: Vec::new() };
        }
        let decisions = self.follow(&event, &source.outputs, source, test.now, &mut outcomes);
        Course { outcomes, decisions }
    }

    /// Takes an event of this format through the graph from a filter, transform or sink on, as if it came from the
    /// pipeline's first source, at this time. Of a node that is not there, nothing comes.
    pub fn run_from(&self, node: &NodeName, event: &TestEvent, format: Format, now: Timestamp) -> Course {
        self.clock.set(now);
        let start = self.graph.start_at(node).filter(|_| node.kind() != NodeKind::Source);
        let (Some(start), Some(source)) = (start, self.graph.sources.first()) else {
            return Course { outcomes: Vec::new(), decisions: Vec::new() };
        };
        let event = Arc::new(event_of_test(event, source, format));
        let mut outcomes = Vec::new();
        let decisions = self.follow(&event, &start, source, now, &mut outcomes);
        Course { outcomes, decisions }
    }

    /// What a transform makes of an event at this time.
    ///
    /// # Errors
    /// Why it makes nothing of it, in a sentence.
    pub fn transform(
        &self,
        transform: &Transform,
        event: &TestEvent,
        format: Format,
        now: Timestamp,
    ) -> Result<Transformed, String> {
        self.clock.set(now);
        let source = self.graph.sources.first().ok_or("the pipeline has no source")?;
        let envelope = event_of_test(event, source, format).envelope().map_err(|error| error.to_string())?;
        transform.apply(&Arc::new(Envelope::new(envelope))).map_err(|failure| failure.to_string())
    }

    fn follow(
        &self,
        event: &Arc<Event>,
        start: &[Target],
        source: &SourceNode,
        now: Timestamp,
        outcomes: &mut Vec<Outcome>,
    ) -> Vec<Decision> {
        let mut ends = Vec::new();
        let decisions = self.routes.walk_with_decisions(event, &self.routes.start(start), &mut ends);
        // The walk has no order of sinks that anybody should rely on. That of the events which transforms make stays.
        ends.sort_by_key(|end| match end {
            RouteEnd::Sink(index, _) => *index,
            RouteEnd::Failed(_) => usize::MAX,
        });
        for end in ends {
            match end {
                RouteEnd::Sink(index, prepared) => outcomes.push(self.first_attempt(index, prepared, now)),
                RouteEnd::Failed(failure) => self.give_up(failure, source, now, outcomes),
            }
        }
        decisions
    }

    fn first_attempt(&self, index: usize, Prepared { core, request }: Prepared, now: Timestamp) -> Outcome {
        let sink = &self.graph.sinks[index];
        let delivery = Delivery::new(core, request, None, Instant::now());
        Outcome::Delivery(Box::new(FirstAttempt {
            sink: Arc::clone(&sink.route.name),
            method: sink.settings.webhook.method(&delivery.request).to_string(),
            url: delivery.request.url.clone(),
            headers: sink.settings.webhook.parts(&delivery.request, &delivery.webhook_id, now).headers,
            body: delivery.request.body.clone(),
        }))
    }

    fn give_up(&self, failure: Failure, source: &SourceNode, now: Timestamp, outcomes: &mut Vec<Outcome>) {
        let letter = failure.into_letter(now);
        let (node, message) = (letter.node.clone(), letter.message.clone());
        outcomes.push(Outcome::DeadLetter { node, reason: letter.reason, message });
        let sink = letter.node.as_sink().and_then(|name| self.routes.index_of_sink(name));
        let target = sink.map_or(&source.dead_letter, |index| &self.graph.sinks[index].dead_letter);
        // Circles of sinks are refused when the graph is compiled.
        if let Some(LetterTarget::Sink(index)) = target {
            self.follow(&Arc::new(event_of(&letter)), &[Target::Sink(*index)], source, now, outcomes);
        }
    }
}

fn event_of_test(event: &TestEvent, source: &SourceNode, format: Format) -> Event {
    Event {
        id: event.id.clone(),
        time: event.time,
        source: Arc::clone(&source.name),
        key: event.key.clone(),
        headers: event.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        meta: meta_of_test(event, source),
        payload: payload_of_test(event, format),
        format,
        content_type: event.content_type.clone(),
    }
}

/// What the test says, among what else the source would say.
fn meta_of_test(event: &TestEvent, source: &SourceNode) -> Meta {
    let mut meta = source.meta_of_tests.clone();
    for (name, value) in &event.meta {
        let value = MetaValue::Json(value.0.clone());
        match meta.iter_mut().find(|(known, _)| known == name) {
            Some((_, default)) => *default = value,
            None => meta.push((name.clone().into(), value)),
        }
    }
    meta
}

/// `data` that cannot be a payload of the format was refused when the file was read.
fn payload_of_test(event: &TestEvent, format: Format) -> Option<Bytes> {
    event.payload(format).ok().flatten()
}

/// 00000000-0000-4000-8000-000000000001 and so on: version 4 as far as its form goes (RFC 9562, 5.4).
fn numbered_uuid(number: u64) -> Uuid {
    uuid::Builder::from_random_bytes(u128::from(number).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::parse_lenient;
    use crate::pipeline::Environment;
    use crate::pipeline::load::compile_in;
    use crate::pipeline::walk::StageResult;

    const PIPELINE: &str = r#"
        name = "test"
        [sources.a]
        type = "stdin"
        max_event_size = "40B"
        dead_letter = "alerts"
        [filters.paid]
        from = ["a"]
        when = "$.data.paid == true"
        [filters.large]
        from = ["paid"]
        when = "$.data.n > 5"
        [sinks.crm]
        type = "webhook"
        from = ["paid", "large"]
        url = "http://127.0.0.1:9/{{data.n}}"
        body = '"{{uuid}} {{now}}"'
        signing = { secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
        [sinks.alerts]
        type = "webhook"
        url = "http://127.0.0.1:9/"
        body = '"{{meta.dead_letter.node}} {{meta.dead_letter.reason}}"'
    "#;

    /// What becomes of each payload.
    fn run<const N: usize>(payloads: [&str; N]) -> [Course; N] {
        run_pipeline(PIPELINE, &|_| None, payloads)
    }

    fn run_pipeline<const N: usize>(
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        payloads: [&str; N],
    ) -> [Course; N] {
        run_events(text, env, payloads.map(|payload| format!("payload = '{payload}'")))
    }

    /// What becomes of events with these keys.
    fn run_events<const N: usize>(
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        events: [String; N],
    ) -> [Course; N] {
        let parsed = parse_lenient("test", text, env);
        assert_eq!(parsed.faults, []);
        let clock = FrozenClock::default();
        let folder = PathBuf::from("/nowhere");
        let rendering = clock.options();
        let environment = Environment { state_dir: folder.clone(), base_dir: folder, once: true, rendering };
        let graph = compile_in(parsed, environment).unwrap().graph;
        let trial = Trial::new(&graph, &clock);
        events.map(|event| {
            let test = format!("name = 't'\nsource = 'a'\nevent = {{ {event} }}\nexpect = []");
            trial.run(&toml::from_str(&test).unwrap())
        })
    }

    /// Each outcome as the sink and its body, or as the node of the letter and the reason.
    fn shown(course: &Course) -> Vec<(String, String)> {
        let outcomes = course.outcomes.iter().map(|outcome| match outcome {
            Outcome::Delivery(attempt) => (attempt.sink.to_string(), String::from_utf8(attempt.body.to_vec()).unwrap()),
            Outcome::DeadLetter { node, reason, .. } => (node.to_string(), reason.as_str().to_owned()),
        });
        outcomes.collect()
    }

    fn pair(node: &str, what: &str) -> (String, String) {
        (node.to_owned(), what.to_owned())
    }

    #[test]
    fn every_path_to_a_sink_is_a_delivery_and_the_filters_are_told() {
        let [filtered, once, twice] = run([r#"{"paid":false}"#, r#"{"paid":true,"n":1}"#, r#"{"paid":true,"n":9}"#]);
        assert_eq!((filtered.outcomes.len(), once.outcomes.len(), twice.outcomes.len()), (0, 1, 2));
        let decision = |name: &str, result| Decision { node: NodeName::filter(name), result };
        assert_eq!(filtered.decisions, [decision("paid", StageResult::DoesNotMatch)]);
        let both = ["paid", "large"].map(|name| decision(name, StageResult::Matches));
        assert_eq!(twice.decisions, both);
    }

    #[test]
    fn an_event_has_the_meta_of_its_source_and_what_the_test_says_instead() {
        let sink = "\n[sinks.s]\ntype = 'webhook'\nfrom = ['a']\nurl = 'http://h/'\nbody = '{{json meta}}'";
        for (source, meta, expected) in [
            ("type = 'stdin'", "", r#"{"offset":0}"#),
            (
                "type = 'kafka'\nbrokers = ['b:1']\ntopics = ['orders', 'more']",
                "offset = 7, own = [1]",
                r#"{"topic":"orders","partition":0,"offset":7,"own":[1]}"#,
            ),
            (
                "type = 'amqp'\nuri = 'amqp://h'\nqueue = 'q'",
                "properties = { priority = 3 }",
                r#"{"exchange":"","routing_key":"q","queue":"q","redelivered":false,"properties":{"priority":3}}"#,
            ),
            (
                "type = 'file'\npaths = ['logs/*.log']",
                "offset = 12",
                r#"{"path":"logs/*.log","offset":12,"file":"0000000000000000"}"#,
            ),
        ] {
            let pipeline = format!("name = 't'\n[sources.a]\n{source}{sink}");
            let [course] = run_events(&pipeline, &|_| None, [format!("meta = {{ {meta} }}")]);
            assert_eq!(shown(&course), [pair("s", expected)]);
        }
    }

    #[test]
    fn clock_and_ids_stand_still_and_begin_anew_with_each_event() {
        let courses = run([r#"{"paid":true,"n":1}"#; 2]);
        let body = "\"00000000-0000-4000-8000-000000000001 2026-01-01T00:00:00Z\"";
        assert_eq!(shown(&courses[0]), [pair("crm", body)]);
        assert_eq!(courses[0], courses[1]);
        let Outcome::Delivery(attempt) = &courses[0].outcomes[0] else { panic!("{courses:?}") };
        assert_eq!(attempt.headers["webhook-timestamp"], "1767225600");
        assert!(attempt.headers.contains_key("webhook-signature") && attempt.headers["webhook-id"] == "test/1");
    }

    #[test]
    fn what_the_environment_brings_is_data_in_every_language() {
        let pipeline = r#"
            name = "test"
            [sources.a]
            type = "stdin"
            [filters.own]
            from = ["a"]
            when = "$.data.tenant == '${env:TENANT}' && $.data.n >= ${env:LEAST}"
            [templates.t]
            body = '{"token": "${env:TOKEN}", "n": {{data.n}}, "basic": "{{base64 "${env:USER}:${env:TOKEN}"}}"}'
            [defaults.webhook]
            headers = { authorization = "Bearer ${env:TOKEN}" }
            [sinks.crm]
            type = "webhook"
            from = ["own"]
            url = "${env:BASE}/{{data.n}}/${env:TENANT}?t=${env:TOKEN}"
            template = "t"
            order_by = "${env:TOKEN} {{data.n}}"
            rate_limit = { requests = 1, key = "${env:TOKEN} {{data.n}}" }
        "#;
        let env = |name: &str| {
            let value = match name {
                "TENANT" => "o'brien {{x}}",
                "TOKEN" => r#"x{{data.n}}"\y"#,
                "USER" => r#"u"}}"#,
                "LEAST" => "2",
                _ => "http://127.0.0.1:9/{{data}}",
            };
            Some(value.to_owned())
        };
        let event = |n: u8| format!(r#"{{"tenant":"o\u0027brien {{{{x}}}}","n":{n}}}"#);
        let [course, filtered] = run_pipeline(pipeline, &env, [&event(2), &event(1)]);
        assert_eq!(filtered.outcomes, []);
        let [Outcome::Delivery(attempt)] = &course.outcomes[..] else { panic!("{course:?}") };
        assert_eq!(attempt.headers["authorization"], r#"Bearer x{{data.n}}"\y"#);
        let path = "/%7B%7Bdata%7D%7D/2/o%27brien%20%7B%7Bx%7D%7D?t=x%7B%7Bdata.n%7D%7D%22%5Cy";
        assert_eq!(attempt.url.as_str(), format!("http://127.0.0.1:9{path}"));
        let body: serde_json::Value = serde_json::from_slice(&attempt.body).unwrap();
        let basic = "dSJ9fTp4e3tkYXRhLm59fSJceQ==";
        assert_eq!(body, serde_json::json!({"token": r#"x{{data.n}}"\y"#, "n": 2, "basic": basic}));
    }

    #[test]
    fn filters_that_are_looked_up_decide_as_if_each_were_asked() {
        let tenants = ["'a'", "'b'", "1", "1.0", "null", "true"];
        let mut pipeline = "name = 'test'\n[sources.a]\ntype = 'stdin'\n".to_owned();
        for (index, tenant) in tenants.iter().enumerate() {
            pipeline += &format!(
                "[filters.f{index}]\nfrom = ['a']\nwhen = \"$.data.type == 'x' && $.data.tenant == {tenant}\"\n\
                 [sinks.s{index}]\ntype = 'webhook'\nfrom = ['f{index}']\nurl = 'http://127.0.0.1:9/'\n"
            );
        }
        let payloads = [
            r#"{"type":"x","tenant":"b"}"#,
            r#"{"type":"x","tenant":1}"#,
            r#"{"type":"x","tenant":null}"#,
            r#"{"type":"x"}"#,
            r#"{"type":"y","tenant":"b"}"#,
            "no JSON",
        ];
        let courses = run_pipeline(&pipeline, &|_| None, payloads);
        let sinks =
            courses.each_ref().map(|course| shown(course).into_iter().map(|(node, _)| node).collect::<Vec<_>>());
        assert_eq!(sinks[..5], [vec!["s1"], vec!["s2", "s3"], vec!["s4"], vec![], vec![]]);
        let letters: Vec<_> =
            (0..6).map(|index| pair(&NodeName::filter(format!("f{index}")).to_string(), "undecodable")).collect();
        let mut given_up = shown(&courses[5]);
        given_up.sort();
        assert_eq!(given_up, letters, "each filter that cannot read it says so");
        assert_eq!(courses[4].decisions.len(), 6);
    }

    #[test]
    fn a_letter_is_followed_to_the_sink_that_it_is_sent_on_to() {
        let [undecodable, too_large, unrenderable] =
            run(["no JSON", &format!("\"{}\"", "x".repeat(39)), r#"{"paid":true}"#]);
        let at = |node: &str, reason: &str| [pair(node, reason), pair("alerts", &format!("\"{node} {reason}\""))];
        assert_eq!(shown(&too_large), at("sources.a", "too-large"));
        assert_eq!(shown(&undecodable), at("filters.paid", "undecodable"));
        assert_eq!(shown(&unrenderable), [pair("sinks.crm", "unrenderable")], "the sink sends its letters nowhere");
    }
}
