//! Throughput over HTTP/2 when the receiver ends each connection after a few requests, beside the same receiver when it
//! does not. The receiver is nginx, which does so by default.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Result;
use super::measure::{self, Usage};
use super::pipelines::{self, Shape};
use super::report::Report;
use super::runs::{Bench, FILE_SOURCE, Folder, ONCE};

/// The requests after which the receiver ends a connection.
const FEW: usize = 100;

/// More requests than are sent.
const ENDLESS: usize = 1_000_000_000;

/// Compares the two, which take turns.
pub(crate) fn throughput(bench: &Bench, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
    let title = format!("HTTP/2, the receiver ends connections after {FEW} requests");
    let Some(program) = nginx() else {
        report.skip(&title, "no nginx is installed");
        return Ok(());
    };
    let text = pipelines::events(events);
    let (mut throughputs, mut cpu_times) = (Vec::new(), Vec::new());
    for number in 1..=repetitions {
        let endless = run(bench, &program, ENDLESS, &text, events)?;
        let few = run(bench, &program, FEW, &text, events)?;
        let ratio = endless.lasted.as_secs_f64() / few.lasted.as_secs_f64();
        println!("{title}, run {number}: {:.0} and {:.0} ms, ratio of throughput {ratio:.2}", ms(endless), ms(few));
        throughputs.push(ratio);
        cpu_times.push(few.cpu.as_secs_f64() / endless.cpu.as_secs_f64());
    }
    report.goaway(&title, &mut throughputs, &mut cpu_times);
    Ok(())
}

fn ms(usage: Usage) -> f64 {
    usage.lasted.as_secs_f64() * 1e3
}

fn run(bench: &Bench, program: &Path, keepalive_requests: usize, text: &str, events: usize) -> Result<Usage> {
    let nginx = Nginx::start(program, keepalive_requests)?;
    let folder = Folder::new(text)?;
    let pipeline = Shape::PassThrough.pipeline(FILE_SOURCE, &nginx.url());
    let mut bridge = bench.bridge(&folder, &pipeline, ONCE)?;
    let started = Instant::now();
    let usage = measure::wait(bridge.env("SSL_CERT_FILE", nginx.certificate()).spawn()?, started)?;
    let processed = nginx.end()?;
    if processed == events { Ok(usage) } else { Err(format!("nginx got {processed} requests, not {events}").into()) }
}

/// Where nginx is; servers are not in the PATH of everybody.
fn nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// An nginx that speaks HTTP/2 over TLS, ended when it is dropped.
struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    fn start(program: &Path, keepalive_requests: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        certify(folder.path())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
             events {{ worker_connections 512; }}
             http {{
                 {temporary}
                 log_format ids '$http_webhook_id';
                 access_log {root}/access.log ids buffer=64k;
                 keepalive_requests {keepalive_requests};
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
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

    fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.port)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Ends it, and counts the requests that it has processed.
    fn end(mut self) -> Result<usize> {
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
