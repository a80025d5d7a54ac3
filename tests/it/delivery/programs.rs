//! Bodies and single values that programs in jq give, from a file to a receiver.

use std::process::Stdio;

use webhook_bridge::receiver::Behaviour;

use crate::delivery::Site;
use crate::support::Bridge;

#[tokio::test(flavor = "multi_thread")]
async fn programs_make_the_parts_of_a_request_and_their_failures_dead_letters() {
    let mut site = Site::start(Behaviour::default()).await;
    let url = site.receiver.url();
    let sink = format!(
        r#"url = {{ jq = '"{url}/\(.data.id | @uri)?n=\(.data.n)"' }}
        headers = {{ X-Tenant = {{ jq = "need(.data.tenant)" }}, X-Key = {{ jq = '"${{env:HOME}}" | length > 0' }} }}
        order_by = {{ jq = ".data.tenant" }}
        template = "order"
        [templates.order]
        jq = '''
        def money: . / 100 | fixed(2);
        {{ id: .data.id, exact: .data.exact, text: "\(.data.cents | money) EUR" }}
        '''"#
    );
    let lines = [
        r#"{"id":"o/1","n":1,"tenant":"a","cents":1205,"exact":[1.10,123456789012345678901234567890]}"#,
        r#"{"id":"o/2","n":2,"cents":1}"#,
        r#"{"id":"o/3","n":3,"tenant":"a","cents":"secret"}"#,
        r#"{"id":"o/4","n":4,"tenant":"b\nc","cents":1}"#,
    ];
    site.append(&lines);
    let config = site.file_pipeline(&sink);
    let status = Bridge::run_with(site.folder.path(), &config, &["--once"], Stdio::null()).wait();
    assert!(status.success());
    let received = site.received();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].path_and_query, "/o%2F1?n=1");
    assert_eq!(
        (&received[0].headers["x-tenant"], &received[0].headers["x-key"]),
        (&"a".parse().unwrap(), &"true".parse().unwrap())
    );
    let body = r#"{"id":"o/1","exact":[1.10,123456789012345678901234567890],"text":"12.05 EUR"}"#;
    assert_eq!(received[0].body, body);
    let mut letters: Vec<_> = site
        .dead_letters()
        .iter()
        .map(|letter| format!("{} {}", letter["reason"].as_str().unwrap(), letter["message"].as_str().unwrap()))
        .collect();
    letters.sort();
    assert_eq!(
        letters,
        [
            "unrenderable cannot render body: `/` is not for text and a number (line 2, column 68 of the program)",
            "unrenderable cannot render x-tenant: `.data.tenant` is missing from the event (line 1, column 6 of the program)",
            "unrenderable the rendered value of header x-tenant is not a valid header value",
        ]
    );
}
