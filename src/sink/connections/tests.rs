use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const MAX_AGE: Duration = Duration::from_millis(200);

/// A receiver that answers every request with 204, and counts them.
fn receiver(address: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = TcpListener::bind(address).unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counted) = (stream.unwrap(), Arc::clone(&counted));
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for _ in lines.map_while(Result::ok).filter(String::is_empty) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
            });
        }
    });
    (address, count)
}

/// Says where a host is, as DNS does.
struct Names(Arc<Mutex<IpAddr>>);

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = SocketAddr::new(*self.0.lock().unwrap(), 0);
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as reqwest::dns::Addrs) })
    }
}

#[tokio::test]
async fn steady_traffic_follows_a_change_of_dns_and_no_request_fails() {
    let (before, at_former) = receiver("127.0.0.1:0".parse().unwrap());
    let (_, at_new) = receiver(SocketAddr::new("127.0.0.2".parse().unwrap(), before.port()));
    let names = Arc::new(Mutex::new(before.ip()));
    let mut connections = Connections::new(Duration::from_secs(5), 8, MAX_AGE, false).unwrap();
    connections.builder.resolver = Arc::new(Names(Arc::clone(&names)));
    let url = Url::parse(&format!("http://receiver.example:{}/hook", before.port())).unwrap();
    let send = async || {
        let lease = connections.lease(&url).unwrap();
        let request = reqwest::Request::new(reqwest::Method::POST, url.clone());
        assert_eq!(lease.client.execute(request).await.unwrap().status(), 204);
    };
    send().await;
    *names.lock().unwrap() = "127.0.0.2".parse().unwrap();
    let changed = Instant::now();
    while at_new.load(Ordering::SeqCst) == 0 {
        assert!(changed.elapsed() < Duration::from_secs(20), "all requests still go to the former address");
        futures_util::future::join_all((0..4).map(|_| send())).await;
    }
    let count = at_former.load(Ordering::SeqCst);
    send().await;
    assert_eq!(at_former.load(Ordering::SeqCst), count, "nothing goes there any more");
}
