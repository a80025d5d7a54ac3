//! The webhook sink: makes exactly one attempt, and says what came of it. It must not wait or retry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};

use super::answer;
use super::config::{Method, WebhookConfig};
use super::connections::Connections;
use super::failure::{AttemptError, classify, is_no_http2};
use super::parts::AttemptParts;
use super::request::Request;
use super::responses::AnswerBody;
use super::signing::Signer;
use super::verdict::{Answer, AnswerRules, Verdict};
use crate::problem::Problem;
use crate::units::ByteSize;

/// Makes the attempts of one sink; all clones share one connection pool.
#[derive(Debug, Clone)]
pub struct Webhook {
    connections: Arc<Connections>,
    method: reqwest::Method,
    timeout: Duration,
    max_response_size: ByteSize,
    signer: Option<Signer>,
    rules: AnswerRules,
    /// Headers that are the same for all events.
    fixed_headers: HeaderMap,
}

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
            config.url.template().is_none_or(|template| template.as_str().contains("{{")),
        );
        let connections = Arc::new(connections.map_err(cannot_set_up)?);
        let method = config.method.template().and_then(|method| Method::of_name(method.as_str()));
        Ok(Self {
            connections,
            // Where it depends on the event, each request brings its own.
            method: method.unwrap_or_default().into(),
            timeout: config.timeout.0,
            max_response_size: config.max_response_size,
            signer,
            rules,
            fixed_headers,
        })
    }

    /// Sends the request once, and says what came of it.
    pub async fn attempt(&self, request: &Request, id: &HeaderValue) -> Verdict {
        match self.send(request, id).await {
            Ok((answer, body)) => self.rules.judge(answer, &body, SystemTime::now()),
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
    async fn send(&self, request: &Request, id: &HeaderValue) -> Result<(Answer, AnswerBody), AttemptError> {
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
        Ok(answer::read(response, &self.rules, self.max_response_size).await)
    }
}
