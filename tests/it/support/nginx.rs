//! A real nginx with HTTP/2 over TLS, for what no receiver of ours does: it ends connections with a GOAWAY.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::wait_until;

/// An nginx that answers every request with 204, ended when it is dropped.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// Starts one that ends each connection after `keepalive_requests` requests.
    pub(crate) async fn start(keepalive_requests: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
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
                 log_format ids '$http_webhook_id $server_protocol';
                 access_log {root}/access.log ids;
                 keepalive_requests {keepalive_requests};
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
                     ssl_certificate {root}/server.pem;
                     ssl_certificate_key {root}/server.key;
                     location / {{ return 204; }}
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

    /// The `webhook-id` of each request that it has processed, all by HTTP/2.
    pub(crate) fn processed(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let requests = log.lines().map(|line| line.split_once(' ').unwrap());
        requests
            .map(|(id, protocol)| {
                assert_eq!(protocol, "HTTP/2.0");
                id.to_owned()
            })
            .collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes an authority, and a certificate of it for `localhost`.
fn certify(folder: &Path) {
    std::fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -subj /CN=test-ca -days 2 -keyout ca.key -out ca.pem"));
    openssl(folder, &format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
    openssl(folder, &format!("{sign} -extfile extensions -out server.pem"));
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
