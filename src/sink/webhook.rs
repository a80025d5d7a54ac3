//! The webhook sink: makes exactly one attempt, and says what came of it. It must not wait or retry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::{
    ALLOW, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde_json::Value;

use super::config::{Method, WebhookConfig};
use super::connections::Connections;
use super::failure::{AttemptError, classify, is_no_http2};
use super::parts::AttemptParts;
use super::request::Request;
use super::signing::Signer;
use super::verdict::{Answer, AnswerRules, Verdict};
use crate::problem::Problem;
use crate::secret::mask;

/// Makes the attempts of one sink; all clones share one connection pool.
#[derive(Debug, Clone)]
pub struct Webhook {
    connections: Arc<Connections>,
    method: reqwest::Method,
    timeout: Duration,
    max_response_size: usize,
    signer: Option<Signer>,
    rules: AnswerRules,
    /// Headers that are the same for all events.
    fixed_headers: HeaderMap,
}

/// As much of an answer's body is kept for people to read, in bytes.
const EXCERPT_SIZE: usize = 1024;

/// As much of a header that tells a person what to do is kept, in bytes.
const HEADER_SIZE: usize = 256;

/// The headers of an answer that say what is wrong or what to do: where the receiver has gone (3xx), when it wants to
/// be asked again, how to sign in (401, 407), which methods (405) and content types (415) it takes.
const TELLING_HEADERS: [HeaderName; 6] =
    [LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, PROXY_AUTHENTICATE, ALLOW, HeaderName::from_static("accept-post")];

/// As much of it is looked at, so that a secret across the end of the excerpt is masked whole and not cut in two.
const MASKED_SIZE: usize = 4 * EXCERPT_SIZE;

impl Webhook {
    /// Builds the HTTP client, with room for `concurrency` connections to each host. `fixed_headers` go with every
    /// request, and answers are judged by `rules`.
    ///
    /// # Errors
    /// Every value at fault, with its path below the sink.
    pub fn new(
        config: &WebhookConfig,
        concurrency: usize,
        fixed_headers: HeaderMap,
        rules: AnswerRules,
    ) -> Result<Self, Vec<Problem>> {
        let signer = config.signing.as_ref().map(Signer::new).transpose();
        let signer =
            signer.map_err(|problems| problems.into_iter().map(|p| p.under(["signing"])).collect::<Vec<_>>())?;
        let cannot_set_up =
            |error: String| vec![Problem::new(["url"], format!("cannot set up the HTTP client: {error}"))];
        let connections = Connections::new(
            config.connect_timeout.0,
            concurrency,
            config.max_connection_age.0,
            config.url.as_str().contains("{{"),
        );
        let connections = Arc::new(connections.map_err(cannot_set_up)?);
        Ok(Self {
            connections,
            // Where it is a template, each request brings its own.
            method: Method::of_name(config.method.as_str()).unwrap_or_default().into(),
            timeout: config.timeout.0,
            max_response_size: config.max_response_size.0,
            signer,
            rules,
            fixed_headers,
        })
    }

    /// Sends the request once, and says what came of it.
    pub async fn attempt(&self, request: &Request, id: &HeaderValue) -> Verdict {
        match self.send(request, id).await {
            Ok((answer, body)) => self.rules.judge(answer, body.as_ref(), SystemTime::now()),
            Err(error) => error.into(),
        }
    }

    /// The headers of every attempt of a request, but for those that belong to the attempt alone: its id, its time and
    /// its signature.
    pub fn headers(&self, request: &Request) -> HeaderMap {
        let mut headers = self.fixed_headers.clone();
        headers.extend(request.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers
    }

    /// The parts of an attempt at this time, signed where the sink signs.
    pub fn parts<'a>(&'a self, request: &'a Request, id: &'a HeaderValue, time: Timestamp) -> AttemptParts<'a> {
        let headers = self.headers(request);
        let mut parts = AttemptParts::new(self.method(request), &request.url, headers, &request.body, id, time);
        if let Some(signer) = &self.signer {
            signer.apply(&mut parts);
        }
        parts
    }

    /// The method of a request.
    pub fn method<'a>(&'a self, request: &'a Request) -> &'a reqwest::Method {
        request.method.as_ref().unwrap_or(&self.method)
    }

    /// Sends the request and reads the answer.
    async fn send(&self, request: &Request, id: &HeaderValue) -> Result<(Answer, Option<Value>), AttemptError> {
        let parts = self.parts(request, id, Timestamp::now());
        let mut http = reqwest::Request::new(parts.method.clone(), parts.url.clone());
        *http.headers_mut() = parts.headers;
        // GET and DELETE without one have no body, not even an empty one.
        if !request.body.is_empty() || !matches!(*parts.method, reqwest::Method::GET | reqwest::Method::DELETE) {
            *http.body_mut() = Some(request.body.clone().into());
        }
        *http.timeout_mut() = Some(self.timeout);
        let mut lease = self.connections.lease(&request.url)?;
        let response = match lease.client.execute(http).await {
            Ok(response) => response,
            Err(error) => {
                if is_no_http2(&error) {
                    lease.refused_http2();
                }
                let error = classify(error, self.timeout);
                if matches!(error, AttemptError::NotProcessed(_)) {
                    lease.not_processed();
                }
                drop(lease);
                // The connection's own task has to end it before the next attempt asks for one: otherwise that would be
                // sent by the same one, in vain.
                tokio::task::yield_now().await;
                return Err(error);
            }
        };
        lease.answered_by(response.version());
        Ok(self.read_answer(response).await)
    }

    /// Reads the body to its end, so that the connection can be used again, but not beyond the bound: then the
    /// connection is closed. A body that breaks off does not change what the status says. The JSON in it is given where a
    /// rule asks for it.
    async fn read_answer(&self, mut response: Response) -> (Answer, Option<Value>) {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let headers = if status.is_success() { Vec::new() } else { telling_headers(response.headers()) };
        let is_judged = self.rules.responses.asks_for_body(status.as_u16());
        let kept = match (is_judged, status.is_success()) {
            (true, _) => self.max_response_size.max(MASKED_SIZE),
            (false, false) => MASKED_SIZE,
            (false, true) => 0,
        };
        let mut body = Vec::new();
        let mut read = 0;
        let mut is_whole = false;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    read += chunk.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(kept - body.len())]);
                }
                ended => {
                    is_whole = ended.is_ok();
                    break;
                }
            }
            if read > self.max_response_size {
                break;
            }
        }
        drop(response);
        let json = if is_judged && is_whole { serde_json::from_slice(&body).ok() } else { None };
        body.truncate(MASKED_SIZE);
        // The client's own task takes a connection back into the pool, and has to run before the next attempt asks for
        // one: otherwise that attempt opens another connection, of which most would never be used.
        tokio::task::yield_now().await;
        (Answer { status: status.as_u16(), retry_after, headers, excerpt: to_excerpt(&body) }, json)
    }
}

/// The headers of an answer that tell a person what to do.
fn telling_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_name = |name: HeaderName| {
        let values: Vec<_> =
            headers.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| (name.to_string(), to_text(values.join(", ").as_bytes(), HEADER_SIZE)))
    };
    TELLING_HEADERS.into_iter().filter_map(of_name).collect()
}

/// The beginning of a body as text.
fn to_excerpt(body: &[u8]) -> String {
    to_text(body, EXCERPT_SIZE)
}

/// At most `size` bytes as text, with its secrets masked before it is cut.
fn to_text(bytes: &[u8], size: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut text = mask(&text).into_owned();
    let end = (0..=size.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}
