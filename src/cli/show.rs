//! Shows received requests to people (text) and to programs (JSON lines), for `bridge listen` and `bridge dev`.
//!
//! Requests come from anyone, so nothing of them reaches the terminal unescaped; and under `bridge dev` they carry what
//! the pipeline put into them, so secrets are masked. Styles are always written: the caller passes a stream that takes
//! them out where they do not belong (`anstream`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::json_text;
use crate::receiver::{ReceivedRequest, VerifyError};
use crate::secret::mask;
use crate::sink::signing::signature_headers;

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// As many bytes of a binary body are shown, in rows of [`HEX_ROW`].
const HEX_HEAD: usize = 64;
const HEX_ROW: usize = 16;

/// Writes one request as text, over several lines. `why_unchecked` is the reason that is given beside a signature that
/// nobody verified, for example "no --secret".
///
/// # Errors
/// When `out` cannot be written.
pub fn request(out: &mut impl Write, request: &ReceivedRequest, why_unchecked: &str) -> io::Result<()> {
    let ReceivedRequest { number, at, method, .. } = request;
    let path = printable(&request.path_and_query);
    writeln!(out, "{TITLE}#{number}  {method} {path}{TITLE:#}  {FAINT}{at:.3}{FAINT:#}")?;
    headers(out, &request.headers)?;
    signature(out, request, why_unchecked)?;
    writeln!(out)?;
    body(out, &request.body)?;
    writeln!(out)?;
    match request.answered_status {
        Some(status) => writeln!(out, "  {style}→ {status}{style:#}", style = status_style(status))?,
        None => writeln!(out, "  {BAD}→ no answer{BAD:#}")?,
    }
    writeln!(out)
}

/// Writes one request as one line of JSON: `number, time, connection, method, path, headers, body` (as text; as
/// `body_base64` when it is not UTF-8), `signature` (`verified`, `failed` with `signature_error`, or `unchecked`) and
/// `status` (null when there was no answer). Values of headers that occur more than once are joined by `, `.
///
/// # Errors
/// When `out` cannot be written.
pub fn request_as_json(out: &mut impl Write, request: &ReceivedRequest) -> io::Result<()> {
    let body = std::str::from_utf8(&request.body);
    let line = JsonLine {
        number: request.number,
        time: format!("{:.3}", request.at),
        connection: request.connection,
        method: request.method.as_str(),
        path: mask(&request.path_and_query),
        headers: joined(&request.headers),
        body: body.ok().map(mask),
        body_base64: body.is_err().then(|| BASE64.encode(&request.body)),
        signature: match request.verdict {
            None => "unchecked",
            Some(Ok(())) => "verified",
            Some(Err(_)) => "failed",
        },
        signature_error: failure(request).map(ToString::to_string),
        status: request.answered_status.map(|status| status.as_u16()),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// What was received altogether.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    by_status: BTreeMap<Option<u16>, u64>,
    verified: u64,
    failed: u64,
}

impl Summary {
    /// Counts one request.
    pub fn add(&mut self, request: &ReceivedRequest) {
        *self.by_status.entry(request.answered_status.map(|status| status.as_u16())).or_default() += 1;
        match request.verdict {
            None => {}
            Some(Ok(())) => self.verified += 1,
            Some(Err(_)) => self.failed += 1,
        }
    }

    /// The number of requests.
    pub fn requests(&self) -> u64 {
        self.by_status.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests();
        write!(f, "{requests} {}", if requests == 1 { "request" } else { "requests" })?;
        for (index, (status, count)) in self.by_status.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            match status {
                Some(status) => write!(f, "{separator}{count} answered {status}")?,
                None => write!(f, "{separator}{count} not answered")?,
            }
        }
        if self.verified + self.failed > 0 {
            write!(f, "; signatures: {} verified, {} failed", self.verified, self.failed)?;
        }
        Ok(())
    }
}

fn headers(out: &mut impl Write, headers: &HeaderMap) -> io::Result<()> {
    let width = headers.keys().map(|name| name.as_str().len()).max().unwrap_or_default();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        writeln!(out, "  {FAINT}{:width$}{FAINT:#}  {}", name.as_str(), printable(&value))?;
    }
    Ok(())
}

fn signature(out: &mut impl Write, request: &ReceivedRequest, why_unchecked: &str) -> io::Result<()> {
    match &request.verdict {
        Some(Ok(())) => writeln!(out, "  {GOOD}✓ signature verified{GOOD:#}"),
        Some(Err(error)) => writeln!(out, "  {BAD}✗ signature not verified: {error}{BAD:#}"),
        None if signature_headers().any(|name| request.headers.contains_key(name)) => {
            writeln!(out, "  {FAINT}- signature not checked: {why_unchecked}{FAINT:#}")
        }
        None => Ok(()),
    }
}

/// Writes a body: JSON indented, other text as it is, the head of anything else in hexadecimal.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn body(out: &mut impl Write, body: &[u8]) -> io::Result<()> {
    if body.is_empty() {
        return writeln!(out, "  {FAINT}(no body){FAINT:#}");
    }
    let text = std::str::from_utf8(body).ok().filter(|text| !text.contains('\0'));
    let Some(text) = text else {
        return binary(out, body);
    };
    let text = json_text::indent(text).map_or(Cow::Borrowed(text), Cow::Owned);
    for line in text.lines() {
        writeln!(out, "  {}", printable(line))?;
    }
    Ok(())
}

fn binary(out: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let head = &body[..body.len().min(HEX_HEAD)];
    writeln!(out, "  {FAINT}({} bytes, not text){FAINT:#}", body.len())?;
    for row in head.chunks(HEX_ROW) {
        write!(out, " ")?;
        for byte in row {
            write!(out, " {byte:02x}")?;
        }
        writeln!(out)?;
    }
    if head.len() < body.len() {
        writeln!(out, "  {FAINT}…{FAINT:#}")?;
    }
    Ok(())
}

fn status_style(status: StatusCode) -> Style {
    if status.is_success() { GOOD } else { BAD }
}

/// The text with secrets masked and control characters escaped (`\u{1b}`): a request must not steer the terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let text = mask(text);
    let harmless = |c: char| !c.is_control() || c == '\t';
    if text.chars().all(harmless) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmless(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    Cow::Owned(escaped)
}

#[derive(Serialize)]
struct JsonLine<'a> {
    number: u64,
    time: String,
    connection: u64,
    method: &'a str,
    path: Cow<'a, str>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    signature: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_error: Option<String>,
    status: Option<u16>,
}

fn joined(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut joined = BTreeMap::<_, String>::new();
    for (name, value) in headers {
        let text = joined.entry(name.as_str()).or_default();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&mask(&String::from_utf8_lossy(value.as_bytes())));
    }
    joined
}

fn failure(request: &ReceivedRequest) -> Option<&VerifyError> {
    request.verdict.as_ref()?.as_ref().err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::http::{HeaderName, Method};
    use jiff::Timestamp;

    fn received(body: &'static [u8], verdict: Option<Result<(), VerifyError>>) -> ReceivedRequest {
        let headers = [
            ("host", "127.0.0.1:9000"),
            ("content-type", "application/json"),
            ("webhook-id", "shop%2Eorders/3/1042"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ("x-tag", "a"),
            ("x-tag", "b\u{9b}31m"),
        ];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        ReceivedRequest {
            number: 7,
            at: Timestamp::from_millisecond(1_614_265_330_250).unwrap(),
            method: Method::POST,
            path_and_query: "/hooks/eu?x=1".into(),
            headers: headers.into_iter().collect(),
            body: Bytes::from_static(body),
            connection: 2,
            verdict,
            answered_status: Some(StatusCode::OK),
        }
    }

    fn mismatch() -> VerifyError {
        VerifyError::Mismatch("the body".into())
    }

    fn text(received: &ReceivedRequest) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        request(&mut out, received, "no --secret was given").unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    fn json_line(received: &ReceivedRequest) -> serde_json::Value {
        let mut out = Vec::new();
        request_as_json(&mut out, received).unwrap();
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_json_request_is_laid_out_for_reading() {
        insta::assert_snapshot!(text(&received(br#"{"id":"o-1","total":120.50,"tags":[]}"#, Some(Ok(())))), @r#"
        #7  POST /hooks/eu?x=1  2021-02-25T15:02:10.250Z
          host               127.0.0.1:9000
          content-type       application/json
          webhook-id         shop%2Eorders/3/1042
          webhook-signature  v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
          x-tag              a
          x-tag              b\u{9b}31m
          ✓ signature verified

          {
            "id": "o-1",
            "total": 120.50,
            "tags": []
          }

          → 200 OK
        "#);
    }

    #[test]
    fn what_went_wrong_is_said() {
        let mut failed =
            received(b"", Some(Err(VerifyError::TooOld(HeaderName::from_static("webhook-timestamp"), 400))));
        failed.answered_status = None;
        insta::assert_snapshot!(text(&failed), @r#"
        #7  POST /hooks/eu?x=1  2021-02-25T15:02:10.250Z
          host               127.0.0.1:9000
          content-type       application/json
          webhook-id         shop%2Eorders/3/1042
          webhook-signature  v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
          x-tag              a
          x-tag              b\u{9b}31m
          ✗ signature not verified: the timestamp in `webhook-timestamp` is 400 s in the past; at most 300 s are allowed

          (no body)

          → no answer
        "#);
        assert!(text(&received(b"", None)).contains("- signature not checked: no --secret was given\n"));

        let mut unsigned = received(b"", None);
        unsigned.headers.remove("webhook-signature");
        assert!(!text(&unsigned).contains("signature"));
    }

    #[test]
    fn text_stays_as_sent_but_cannot_steer_the_terminal() {
        let shown = text(&received("{not json}\r\n\u{1b}[2J\tend é".as_bytes(), None));
        assert!(shown.contains("\n  {not json}\n  \\u{1b}[2J\tend é\n"), "{shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
    }

    #[test]
    fn a_binary_body_shows_its_size_and_head() {
        let shown = text(&received(&[0xff; 70], None));
        let row = format!("  {}\n", ["ff"; 16].join(" "));
        assert!(shown.contains(&format!("\n  (70 bytes, not text)\n{}  …\n", row.repeat(4))), "{shown}");
    }

    #[test]
    fn secrets_of_the_pipeline_are_masked() {
        crate::secret::register("tok-4711-show");
        let mut secret = received(br#"{"token":"tok-4711-show"}"#, None);
        secret.headers.insert("authorization", "Bearer tok-4711-show".parse().unwrap());
        secret.path_and_query = "/hooks?key=tok-4711-show".into();
        for shown in [text(&secret), json_line(&secret).to_string()] {
            assert_eq!((shown.matches("***").count(), shown.contains("4711")), (3, false), "{shown}");
        }
    }

    #[test]
    fn colours_are_written_for_the_stream_to_judge() {
        let mut out = Vec::new();
        request(&mut out, &received(b"", Some(Ok(()))), "").unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\u{1b}[32m✓ signature verified\u{1b}[0m"));
    }

    #[test]
    fn a_program_gets_one_line_of_json() {
        let line = json_line(&received(b"{\"a\": 1}\n", Some(Err(mismatch()))));
        let expected = serde_json::json!({
            "number": 7, "time": "2021-02-25T15:02:10.250Z", "connection": 2,
            "method": "POST", "path": "/hooks/eu?x=1",
            "headers": {
                "content-type": "application/json", "host": "127.0.0.1:9000",
                "webhook-id": "shop%2Eorders/3/1042",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                "x-tag": "a, b\u{9b}31m",
            },
            "body": "{\"a\": 1}\n",
            "signature": "failed", "signature_error": mismatch().to_string(),
            "status": 200,
        });
        assert_eq!(line, expected);

        let mut binary = received(b"\xff\x00", None);
        binary.answered_status = None;
        let line = json_line(&binary);
        assert_eq!((&line["body_base64"], &line["signature"]), (&"/wA=".into(), &"unchecked".into()));
        assert_eq!((line.get("body"), &line["status"]), (None, &serde_json::Value::Null));
    }

    #[test]
    fn the_summary_counts_answers_and_signatures() {
        let mut summary = Summary::default();
        assert_eq!(summary.to_string(), "0 requests");
        summary.add(&received(b"", None));
        assert_eq!(summary.to_string(), "1 request: 1 answered 200");
        summary.add(&received(b"", Some(Ok(()))));
        let mut failed = received(b"", Some(Err(mismatch())));
        failed.answered_status = None;
        summary.add(&failed);
        assert_eq!(summary.to_string(), "3 requests: 1 not answered, 2 answered 200; signatures: 1 verified, 1 failed");
    }
}
