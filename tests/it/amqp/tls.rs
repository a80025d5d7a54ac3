//! TLS with a certificate authority of the test's own.

use std::path::Path;

use serde_json::json;
use tokio::process::Command;
use webhook_bridge::source::Source;

use super::broker::Broker;
use super::{connect_error, read_many, source, up_to};

#[tokio::test]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn tls_trusts_the_given_authority_and_no_other() {
    let (broker, _stop) = Broker::private("amqp-tls").await;
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    start_tls(&broker, folder.path(), tls_port).await;
    let queue = broker.queue().await.filled(3).await;
    let url = format!("amqps://guest:guest@localhost:{tls_port}/%2f");

    let mut trusting = source(&url, &queue.name, json!({"ca_file": authority}), false);
    trusting.connect().await.unwrap();
    let records = read_many(&mut trusting, 3).await;
    trusting.commit(up_to(&records[2])).await.unwrap();
    trusting.close().await;
    queue.left(0).await;

    let error = connect_error(&mut source(&url, &queue.name, json!({}), false)).await;
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let other_name = url.replace("localhost", "127.0.0.2");
    let error = connect_error(&mut source(&other_name, &queue.name, json!({"ca_file": authority}), false)).await;
    assert!(error.contains("cannot connect"), "{error}");
    queue.delete().await;
}

/// Makes a certificate authority (`ca.pem`) and a server certificate for `localhost`, and lets the broker listen with it.
async fn start_tls(broker: &Broker, folder: &Path, port: u16) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = ["-newkey", "rsa:2048", "-nodes"];
    let ca = [&["req", "-x509", "-subj", "/CN=Test CA", "-days", "2"], &key[..]].concat();
    openssl(&ca, &["-keyout", &path("ca.key"), "-out", &path("ca.pem")]).await;
    let request = [&["req", "-subj", "/CN=localhost"], &key[..]].concat();
    openssl(&request, &["-keyout", &path("key.pem"), "-out", &path("request.pem")]).await;
    let sign = ["x509", "-req", "-days", "2", "-CAcreateserial"];
    let files = ["-in", &path("request.pem"), "-CA", &path("ca.pem"), "-CAkey", &path("ca.key")];
    let result = ["-extfile", &path("extensions"), "-out", &path("cert.pem")];
    openssl(&sign, &[&files[..], &result[..]].concat()).await;

    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let start = format!(
        r#"rabbit_networking:ensure_ssl(), rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}, auto}},
            [{{certfile, "{cert}"}}, {{keyfile, "{key}"}}, {{cacertfile, "{ca}"}}], 10)."#
    );
    broker.ctl(&["eval", &start]).await;
}

async fn openssl(command: &[&str], files: &[&str]) {
    let output = Command::new("openssl").args(command).args(files).output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
