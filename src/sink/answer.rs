//! Reads an answer: what people are told of it, and the JSON in its body where rules ask for that.
//!
//! Memory stays within the sink's `max_response_size`, whatever a receiver sends. What an answer means is not decided here.

use reqwest::Response;
use reqwest::header::{ALLOW, HeaderMap, HeaderName, LOCATION, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE};

use super::responses::{AnswerBody, Unjudgeable};
use super::verdict::{Answer, AnswerRules};
use crate::secret::mask;
use crate::units::ByteSize;

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

/// Reads the body to its end, so that the connection can be used again, but not beyond `max_size`: then the connection is
/// closed.
pub(super) async fn read(response: Response, rules: &AnswerRules, max_size: ByteSize) -> (Answer, AnswerBody) {
    let status = response.status();
    let is_judged = rules.responses.ask_for_body(status.as_u16());
    let is_told = is_judged || !status.is_success();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let headers = if is_told { telling_headers(response.headers()) } else { Vec::new() };
    let kept_size = match (is_judged, is_told) {
        (true, _) => max_size.0.max(MASKED_SIZE),
        (false, true) => MASKED_SIZE,
        (false, false) => 0,
    };
    let (bytes, end) = read_body(response, kept_size, max_size).await;
    let body = if is_judged { judgeable(&bytes, end) } else { AnswerBody::NotAskedFor };
    // The client's own task takes a connection back into the pool, and has to run before the next attempt asks for
    // one: otherwise that attempt opens another connection, of which most would never be used.
    tokio::task::yield_now().await;
    let excerpt = to_text(bytes.get(..MASKED_SIZE).unwrap_or(&bytes), EXCERPT_SIZE);
    (Answer { status: status.as_u16(), retry_after, headers, excerpt }, body)
}

/// The first `kept_size` bytes of a body, and why it is not whole if it was not read to its end.
async fn read_body(mut response: Response, kept_size: usize, max_size: ByteSize) -> (Vec<u8>, Result<(), Unjudgeable>) {
    let mut kept: Vec<u8> = Vec::new();
    let mut read = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                read += chunk.len();
                let room = kept_size - kept.len();
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) => return (kept, Ok(())),
            Err(_) => return (kept, Err(Unjudgeable::BrokenOff)),
        }
        if read > max_size.0 {
            return (kept, Err(Unjudgeable::TooLarge(max_size)));
        }
    }
}

fn judgeable(bytes: &[u8], end: Result<(), Unjudgeable>) -> AnswerBody {
    let json = end.and_then(|()| serde_json::from_slice(bytes).map_err(|_| Unjudgeable::NotJson));
    json.map_or_else(AnswerBody::Unjudgeable, AnswerBody::Json)
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

/// At most `size` bytes as text, with its secrets masked before it is cut.
fn to_text(bytes: &[u8], size: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut text = mask(&text).into_owned();
    let end = (0..=size.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sink::responses::Responses;

    async fn read_text(status: u16, body: &str, max_size: usize) -> (Answer, AnswerBody) {
        let table = "2xx = [{ when = '$.ok == false', is = 'retry' }]";
        let responses = Responses::new(&toml::from_str(table).unwrap()).unwrap();
        let rules = AnswerRules { responses, ..AnswerRules::default() };
        let response = axum::http::Response::builder().status(status).header("retry-after", "7").body(body.to_owned());
        read(response.unwrap().into(), &rules, ByteSize(max_size)).await
    }

    #[tokio::test]
    async fn a_body_is_parsed_only_where_a_rule_asks_for_it() {
        let (answer, body) = read_text(200, r#"{"ok": false}"#, 1000).await;
        assert_eq!(body, AnswerBody::Json(json!({"ok": false})));
        assert_eq!((answer.excerpt.as_str(), answer.headers.len()), (r#"{"ok": false}"#, 1));
        let (answer, body) = read_text(400, r#"{"ok": false}"#, 1000).await;
        assert_eq!((answer.excerpt.as_str(), body), (r#"{"ok": false}"#, AnswerBody::NotAskedFor));
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_judged_says_why() {
        let deep = "[".repeat(100_000);
        for (body, max_size, expected) in [
            ("ok", 1000, Unjudgeable::NotJson),
            ("", 1000, Unjudgeable::NotJson),
            ("{\"ok\": false} {}", 1000, Unjudgeable::NotJson),
            (deep.as_str(), 200_000, Unjudgeable::NotJson),
            ("{\"ok\": false}", 12, Unjudgeable::TooLarge(ByteSize(12))),
        ] {
            assert_eq!(read_text(200, body, max_size).await.1, AnswerBody::Unjudgeable(expected), "{max_size}");
        }
        assert!(matches!(read_text(200, "{\"ok\": false}", 13).await.1, AnswerBody::Json(_)));
    }

    #[tokio::test]
    async fn of_a_long_body_only_the_beginning_is_told() {
        let body = format!("\"{}\"", "x".repeat(10_000));
        let (answer, judged) = read_text(200, &body, 20_000).await;
        assert_eq!((answer.excerpt.len(), judged), (EXCERPT_SIZE, AnswerBody::Json(json!("x".repeat(10_000)))));
    }
}
