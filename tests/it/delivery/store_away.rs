//! A shared store that is away: sinks with `order_by` go on with what nobody else can have parked.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use webhook_bridge::receiver::Behaviour;

use super::{Site, numbered, numbers};
use crate::support::{Bridge, wait_until};

/// The way to the database, which can be cut.
struct Link {
    url: String,
    is_up: watch::Sender<bool>,
}

impl Link {
    async fn new() -> Self {
        let url = std::env::var("POSTGRES_URL").expect("POSTGRES_URL names a database: tests/brokers/postgres.sh env");
        let mut url = url::Url::parse(&url).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (is_up, up) = watch::channel(true);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if !*up.borrow() {
                    continue;
                }
                let mut server = TcpStream::connect(&target).await.unwrap();
                let mut up = up.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        copied = tokio::io::copy_bidirectional(&mut client, &mut server) => drop(copied),
                        cut = up.wait_for(|is_up| !is_up) => drop(cut),
                    }
                });
            }
        });
        Self { url: url.to_string(), is_up }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make brokers-up"]
async fn ordered_deliveries_go_on_while_a_shared_store_is_away() {
    let link = Link::new().await;
    let mut site = Site::start(Behaviour::default()).await;
    let name = format!("name = \"away-{}\"", uuid::Uuid::new_v4());
    let config = site.pipeline("order_by = \"{{data.n}}\"").replace("name = \"it\"", &name);
    let config = format!("{config}\n[store]\nurl = \"{}\"\n", link.url);
    let mut bridge = Bridge::run_with(site.folder.path(), &config, &[], Stdio::piped());
    let mut input = bridge.take_stdin();
    let lines = numbered(201);
    writeln!(input, "{}", lines[0]).unwrap();
    wait_until("the first event is delivered", || site.receiver.requests() == 1).await;
    // The sink asks the store once a second, and nothing shows that it has.
    tokio::time::sleep(Duration::from_secs(3)).await;

    link.is_up.send_replace(false);
    wait_until("the outage is noticed", || bridge.log().contains("nothing is lost: what it should keep stays open"))
        .await;
    writeln!(input, "{}", lines[1..].join("\n")).unwrap();
    wait_until("all is delivered without the store", || site.receiver.requests() == 201).await;
    assert!(!bridge.log().contains("the store works again"));

    link.is_up.send_replace(true);
    wait_until("the store is back", || bridge.log().contains("the store works again")).await;
    assert!(bridge.stop().success());
    let mut delivered = numbers(&site.received());
    delivered.sort_unstable();
    assert_eq!(delivered, (1..=201).collect::<Vec<_>>());
}
