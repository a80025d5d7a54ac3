//! A real nginx with HTTP/2 over TLS, for what no receiver of ours does: it ends connections with a GOAWAY.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::certificate::{Certificate, certify};
use super::wait_until;

/// An nginx, ended when it is dropped.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// How an nginx is to behave.
pub(crate) struct NginxSetup {
    /// It ends each connection after so many requests.
    pub(crate) keepalive_requests: u32,
    /// The certificate that it shows.
    pub(crate) certificate: Certificate,
    /// What it answers: directives of a `server`.
    pub(crate) answers: String,
}

impl Default for NginxSetup {
    fn default() -> Self {
        let answers = "location / { return 204; }".to_owned();
        Self { keepalive_requests: 1_000_000, certificate: Certificate::Valid, answers }
    }
}

impl Nginx {
    /// Starts one.
    pub(crate) async fn start(setup: NginxSetup) -> Self {
        let NginxSetup { keepalive_requests, certificate, answers } = setup;
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path(), certificate);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};"))
            .join("\n");
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
             events {{ worker_connections 512; }}
             http {{
                 {temporary}
                 log_format ids '$http_webhook_id $server_protocol $connection $ssl_session_reused';
                 access_log {root}/access.log ids;
                 keepalive_requests {keepalive_requests};
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
                     ssl_certificate {root}/server.pem;
                     ssl_certificate_key {root}/server.key;
                     {answers}
                 }}
             }}"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let child = Command::new("nginx")
            .env("PATH", path)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is needed (tests/brokers/install.sh installs it)");
        let nginx = Self { child, port, folder };
        wait_until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        nginx
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.port)
    }

    /// The authority that has certified it, for `SSL_CERT_FILE`.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The `webhook-id` of each request that it has processed.
    pub(crate) fn processed(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.id).collect()
    }

    /// The connections by which requests have come, and how many of them went on with an earlier TLS session.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let requests = self.requests();
        let all: BTreeSet<&str> = requests.iter().map(|request| &*request.connection).collect();
        let resumed = requests.iter().filter(|request| request.is_resumed);
        let resumed: BTreeSet<&str> = resumed.map(|request| &*request.connection).collect();
        (all.len(), resumed.len())
    }

    /// What it has processed, all by HTTP/2.
    fn requests(&self) -> Vec<Request> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let request = |line: &str| {
            let [id, protocol, connection, reused] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(protocol, "HTTP/2.0");
            let (id, connection) = (id.to_owned(), connection.to_owned());
            Request { id, connection, is_resumed: reused == "r" }
        };
        log.lines().map(request).collect()
    }
}

/// A request as nginx logs it.
struct Request {
    id: String,
    connection: String,
    is_resumed: bool,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
