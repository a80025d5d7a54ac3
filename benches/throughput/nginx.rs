//! nginx as a receiver over TLS: what it runs with, and how many requests it has processed.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Result;

/// More requests on a connection than are sent.
pub(crate) const ENDLESS: usize = 1_000_000_000;

/// What is spoken over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Where nginx is; servers are not in the PATH of everybody.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// An nginx that runs, ended when it is dropped.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// Starts it; it ends each connection after so many requests.
    pub(crate) fn start(program: &Path, protocol: Protocol, keepalive_requests: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        certify(folder.path())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};"))
            .concat();
        let listen = match protocol {
            Protocol::Http1 => "ssl",
            Protocol::Http2 => "ssl http2",
        };
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
             events {{ worker_connections 512; }}
             http {{
                 {temporary}
                 log_format ids '$http_webhook_id';
                 access_log {root}/access.log ids buffer=64k;
                 keepalive_requests {keepalive_requests};
                 server {{
                     listen 127.0.0.1:{port} {listen};
                     ssl_certificate {root}/server.pem;
                     ssl_certificate_key {root}/server.key;
                     location / {{ return 204; }}
                 }}
             }}"
        );
        std::fs::write(folder.path().join("nginx.conf"), config)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let nginx = Self { child, port, folder };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err("nginx does not listen".into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.port)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Ends it, and counts the requests that it has processed.
    pub(crate) fn end(mut self) -> Result<usize> {
        let process = nix::unistd::Pid::from_raw(self.child.id().try_into()?);
        // It writes the rest of its log only when it is told to end.
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(std::fs::read_to_string(self.folder.path().join("access.log"))?.lines().count())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes a certificate for `localhost` that is its own authority.
fn certify(folder: &Path) -> Result<()> {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 \
                     -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
                     -keyout server.key -out server.pem";
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
