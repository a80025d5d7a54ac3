//! Signatures that others have published, or made by other programs, scheme by scheme.

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::{Encoding, HmacAlgorithm, SchemeName, Signer, SigningConfig};
use crate::secret::Secret;
use crate::sink::parts::AttemptParts;

/// The headers that a scheme adds to a request with this id, time and body.
fn signed(config: &SigningConfig, id: &'static str, seconds: i64, body: &[u8]) -> HeaderMap {
    let (url, id) = (Url::parse("https://receiver.example/").unwrap(), HeaderValue::from_static(id));
    let time = Timestamp::from_second(seconds).unwrap();
    let mut parts = AttemptParts::new(&Method::POST, &url, HeaderMap::new(), body, &id, time);
    Signer::new(config).unwrap_or_else(|problems| panic!("{problems:?}")).apply(&mut parts);
    parts.headers
}

fn named(scheme: &str, secret: &str) -> SigningConfig {
    SigningConfig::named(SchemeName::of_name(scheme).unwrap(), vec![Secret::new(secret)])
}

#[test]
fn standard_webhooks() {
    // From the test suites of the specification's JavaScript and Rust libraries.
    let javascript = named("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let headers = signed(&javascript, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let rust = named("standard-webhooks", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let headers = signed(&rust, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
    assert_eq!(headers["webhook-signature"], "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
}

#[test]
fn standard_webhooks_ed25519() {
    // From the tests of the Svix server; the specification quotes the signature.
    let secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let config = named("standard-webhooks-ed25519", secret);
    let headers = signed(&config, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    let expected = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    assert_eq!(headers["webhook-signature"], expected);
}

#[test]
fn github() {
    // From "Validating webhook deliveries" of GitHub's documentation.
    let headers = signed(&named("github", "It's a Secret to Everybody"), "a", 0, b"Hello, World!");
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(headers["x-hub-signature-256"], expected);
}

#[test]
fn slack() {
    // From "Verifying requests from Slack" of Slack's documentation.
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
                96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let config = named("slack", "8f742231b10e8888abcd99yyyzzz85a5");
    let headers = signed(&config, "a", 1_531_420_618, body.as_bytes());
    let expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    assert_eq!(headers["x-slack-signature"], expected);
    assert_eq!(headers["x-slack-request-timestamp"], "1531420618");
}

#[test]
fn stripe() {
    // Stripe has published none with its secret: computed by Python's hmac.
    let config = named("stripe", "whsec_test_secret_of_the_bridge");
    let headers = signed(&config, "a", 1_492_774_577, br#"{"id":"evt_1"}"#);
    let expected = "t=1492774577,v1=0d48a78c4577b9781f3f2f24d4084a2071498917c7e290219c4df1116dc8f548";
    assert_eq!(headers["stripe-signature"], expected);
}

#[test]
fn shopify() {
    // Shopify has published none with its secret: computed by Python's hmac.
    let headers = signed(&named("shopify", "hush-hush-hush-hush"), "a", 0, br#"{"id":820982911946154508}"#);
    assert_eq!(headers["x-shopify-hmac-sha256"], "aDPQjbkrpNlMdy9Xpgse3eKgANQc2Yx/Najj029WpLU=");
}

#[test]
fn custom() {
    // RFC 2202, 3, and RFC 4231, 4.5, each of the fourth test case.
    let key: String = (1..=25_u8).map(char::from).collect();
    for (algorithm, expected) in [
        (HmacAlgorithm::HmacSha1, "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
        (HmacAlgorithm::HmacSha256, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            HmacAlgorithm::HmacSha512,
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db\
             a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
        ),
    ] {
        let config = SigningConfig {
            algorithm: Some(algorithm),
            header: Some("X-Signature".into()),
            encoding: Some(Encoding::Hex),
            ..named("custom", &key)
        };
        assert_eq!(signed(&config, "a", 0, &[0xcd; 50])["x-signature"], expected, "{algorithm:?}");
    }
}
