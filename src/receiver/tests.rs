use std::time::Instant;

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use reqwest::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::secret::Secret;
use crate::sink::parts::AttemptParts;
use crate::sink::signing::{SchemeName, Signer, SigningConfig};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";

async fn bind(behaviour: Behaviour) -> Receiver {
    Receiver::bind("127.0.0.1:0", behaviour).await.unwrap()
}

fn client() -> Client {
    // Another test of this process may have installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().build().unwrap()
}

async fn post(client: &Client, receiver: &Receiver) -> reqwest::Response {
    client.post(receiver.url()).body("{}").send().await.unwrap()
}

fn answering(reply: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Behaviour {
    Behaviour { chooser: Some(Arc::new(reply)), ..Behaviour::default() }
}

#[tokio::test]
async fn a_request_is_recorded_as_it_arrived() {
    let (behaviour, mut recorded) = Behaviour::recording(1);
    let receiver = bind(behaviour).await;
    let url = format!("{}/hooks/%2Fa?x=1&y=%20", receiver.url());
    let answer =
        client().put(url).header("X-B", "2").header("X-A", "1").header("X-B", "3").body("\u{0}\u{1}").send().await;
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().len()), (200, 0));

    let request = recorded.recv().await.unwrap();
    assert_eq!((request.number, request.connection), (1, 1));
    assert_eq!((request.method.as_str(), request.path_and_query.as_str()), ("PUT", "/hooks/%2Fa?x=1&y=%20"));
    let sent: Vec<_> = request.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-")).collect();
    assert_eq!(
        sent.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect::<Vec<_>>(),
        ["x-b=2", "x-b=3", "x-a=1"]
    );
    assert_eq!(&request.body[..], b"\x00\x01");
    assert_eq!((request.verdict, request.answered_status), (None, Some(StatusCode::OK)));
}

#[tokio::test]
async fn the_first_requests_fail_with_retry_after_and_the_rest_do_not() {
    let retry_after = Some(HeaderValue::from_static("5"));
    let behaviour = Behaviour {
        status: StatusCode::ACCEPTED,
        fail_first: 2,
        retry_after,
        response_body: Bytes::from_static(b"noted"),
        ..Behaviour::default()
    };
    let receiver = bind(behaviour).await;
    let client = client();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = post(&client, &receiver).await;
        let retry_after = answer.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        answers.push((answer.status().as_u16(), retry_after, answer.text().await.unwrap()));
    }
    let failed = (503, Some("5".to_owned()), "noted".to_owned());
    assert_eq!(answers, [failed.clone(), failed, (202, None, "noted".to_owned())]);
}

#[tokio::test]
async fn a_delayed_request_is_recorded_before_it_is_answered() {
    let (mut behaviour, mut recorded) = Behaviour::recording(1);
    behaviour.delay = Duration::from_millis(200);
    let receiver = bind(behaviour).await;
    let begun = Instant::now();
    let url = receiver.url();
    let mut answer = tokio::spawn(client().post(url).send());
    let request = tokio::select! {
        request = recorded.recv() => request.unwrap(),
        _ = &mut answer => panic!("answered before it was recorded"),
    };
    assert_eq!(request.answered_status, Some(StatusCode::OK));
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn signatures_are_judged_but_change_no_answer() {
    let signing = SigningConfig::named(SchemeName::default(), vec![Secret::new(SECRET)]);
    let (mut behaviour, mut recorded) = Behaviour::recording(8);
    behaviour.verifier = Some(Verifier::new(&signing).unwrap());
    let receiver = bind(behaviour).await;
    let client = client();

    let signer = Signer::new(&signing).unwrap();
    let (url, id) = (receiver.url().parse().unwrap(), HeaderValue::from_static("a"));
    for (signed, sent) in [("{}", "{}"), ("{}", "{ }")] {
        let body = signed.as_bytes();
        let mut parts = AttemptParts::new(&Method::POST, &url, HeaderMap::new(), body, &id, Timestamp::now());
        signer.apply(&mut parts);
        let request = client.post(receiver.url()).headers(parts.headers).body(sent);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    post(&client, &receiver).await;

    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(recorded.recv().await.unwrap().verdict.unwrap());
    }
    assert_eq!(verdicts[0], Ok(()));
    assert!(matches!(verdicts[1], Err(VerifyError::Mismatch(_))));
    assert_eq!(verdicts[2], Err(VerifyError::Missing(HeaderName::from_static("webhook-signature"))));
}

#[tokio::test]
async fn connections_are_numbered_and_kept_alive() {
    let (behaviour, mut recorded) = Behaviour::recording(8);
    let receiver = bind(behaviour).await;
    let first = client();
    for client in [&first, &first, &client(), &first] {
        post(client, &receiver).await.bytes().await.unwrap();
    }
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(recorded.recv().await.unwrap().connection);
    }
    assert_eq!(connections, [1, 1, 2, 1]);
    assert_eq!((receiver.requests(), receiver.connections()), (4, 2));
}

#[tokio::test]
async fn http2_without_tls_is_understood() {
    let receiver = bind(Behaviour::default()).await;
    drop(client());
    let client = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let answer = post(&client, &receiver).await;
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

#[tokio::test]
async fn the_chooser_sees_the_request_and_makes_the_whole_answer() {
    let receiver = bind(answering(|request| {
        let status = if request.body.is_empty() { 400 } else { 201 };
        let answer = Response::builder().status(status).header(CONTENT_TYPE, "text/plain");
        Reply::Answer(answer.body(Bytes::from(request.path_and_query.clone())).unwrap())
    }))
    .await;
    let answer = post(&client(), &receiver).await;
    assert_eq!((answer.status().as_u16(), answer.headers()[CONTENT_TYPE].to_str().unwrap()), (201, "text/plain"));
    assert_eq!(answer.text().await.unwrap(), "/");
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_an_answer() {
    let (mut behaviour, mut recorded) = Behaviour::recording(1);
    behaviour.chooser = Some(Arc::new(|_| Reply::Reset));
    let receiver = bind(behaviour).await;
    let mut stream = TcpStream::connect(receiver.local_addr()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(recorded.recv().await.unwrap().answered_status, None);
}

#[tokio::test]
async fn a_hanging_request_is_reset_when_the_receiver_stops() {
    let (mut behaviour, mut recorded) = Behaviour::recording(1);
    behaviour.chooser = Some(Arc::new(|_| Reply::Hang));
    let receiver = bind(behaviour).await;
    let mut stream = TcpStream::connect(receiver.local_addr()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(recorded.recv().await.unwrap().answered_status, None);

    receiver.stop().await;
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn stopping_lets_an_answer_under_way_end_and_frees_the_address() {
    let (behaviour, mut recorded) = Behaviour::recording(1);
    let receiver = bind(behaviour).await;
    let (addr, url) = (receiver.local_addr(), receiver.url());
    let client = client();
    // The second request waits for room in the channel, and so is under way when the receiver stops.
    post(&client, &receiver).await;
    let second = tokio::spawn(client.post(&url).body("{}").send());
    while receiver.requests() < 2 {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::spawn(receiver.stop());
    assert_eq!(recorded.recv().await.unwrap().number, 1);
    assert_eq!(recorded.recv().await.unwrap().number, 2);
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    stopped.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_recorded() {
    let (behaviour, mut recorded) = Behaviour::recording(2);
    let receiver = bind(behaviour).await;
    let client = client();
    for (size, status) in [(MAX_BODY, 200), (MAX_BODY + 1, 413)] {
        let answer = client.post(receiver.url()).body(vec![b'x'; size]).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    assert_eq!(recorded.recv().await.unwrap().body.len(), MAX_BODY);
    let refused = recorded.recv().await.unwrap();
    assert_eq!((refused.body.len(), refused.answered_status), (0, Some(StatusCode::PAYLOAD_TOO_LARGE)));
}

#[tokio::test]
async fn a_closed_channel_does_not_keep_requests_from_being_answered() {
    let (behaviour, recorded) = Behaviour::recording(1);
    drop(recorded);
    let receiver = bind(behaviour).await;
    assert_eq!(post(&client(), &receiver).await.status(), 200);
    assert_eq!(receiver.requests(), 1);
}
