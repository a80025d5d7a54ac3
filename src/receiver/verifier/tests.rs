use axum::body::Bytes;
use axum::http::{HeaderValue, Method};
use proptest::prelude::*;
use reqwest::Url;

use super::*;
use crate::secret::Secret;
use crate::sink::parts::{AttemptParts, webhook_id};
use crate::sink::signing::{Encoding, HmacAlgorithm, SchemeName, Signer};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const SENT: i64 = 1_614_265_330;
const SIGNATURE_HEADER: &str = "webhook-signature";

fn of(scheme: SchemeName, secrets: &[&str]) -> SigningConfig {
    SigningConfig::named(scheme, secrets.iter().map(|secret| Secret::new(*secret)).collect())
}

fn named(scheme: &str, secrets: &[&str]) -> SigningConfig {
    of(SchemeName::of_name(scheme).unwrap(), secrets)
}

/// Everything that a custom scheme can name.
fn custom(secrets: &[&str]) -> SigningConfig {
    SigningConfig {
        algorithm: Some(HmacAlgorithm::HmacSha512),
        content: Some("{{method}}\n{{path}}\n{{id}}\n{{timestamp}}\n{{body}}".into()),
        header: Some("X-Signature".into()),
        value: Some("t={{timestamp}};sig={{signature}}".into()),
        encoding: Some(Encoding::Base64url),
        separator: Some(";".into()),
        ..of(SchemeName::CUSTOM, secrets)
    }
}

/// A configuration of every scheme, with one secret.
fn every_scheme() -> impl Iterator<Item = SigningConfig> {
    SchemeName::all().map(|scheme| match scheme {
        SchemeName::CUSTOM => custom(&[SECRET]),
        scheme if scheme.name().ends_with("ed25519") => of(scheme, &[PAIR]),
        scheme => of(scheme, &[SECRET]),
    })
}

fn request(signing: &SigningConfig, id: &str, body: &[u8]) -> ReceivedRequest {
    let (url, id) = (Url::parse("http://h/hooks?a=1").unwrap(), HeaderValue::from_str(id).unwrap());
    let at = Timestamp::from_second(SENT).unwrap();
    let mut parts = AttemptParts::new(&Method::POST, &url, HeaderMap::new(), body, &id, at);
    Signer::new(signing).unwrap().apply(&mut parts);
    ReceivedRequest {
        number: 1,
        at,
        method: Method::POST,
        path_and_query: "/hooks?a=1".into(),
        headers: parts.headers,
        body: Bytes::copy_from_slice(body),
        connection: 1,
        verdict: None,
        answered_status: None,
    }
}

fn verify(signing: &SigningConfig, request: &ReceivedRequest) -> Result<(), VerifyError> {
    Verifier::new(signing).unwrap().verify(request)
}

fn arriving(mut request: ReceivedRequest, seconds: i64) -> ReceivedRequest {
    request.at = Timestamp::from_second(SENT + seconds).unwrap();
    request
}

fn is_mismatch(result: &Result<(), VerifyError>) -> bool {
    matches!(result, Err(VerifyError::Mismatch(_)))
}

#[test]
fn what_any_scheme_signs_verifies_and_a_changed_body_does_not() {
    for signing in every_scheme() {
        let mut request = request(&signing, "a", b"{}");
        assert_eq!(verify(&signing, &request), Ok(()), "{:?}", signing.scheme);
        request.body = Bytes::from_static(b"{ }");
        assert!(is_mismatch(&verify(&signing, &request)), "{:?}", signing.scheme);
    }
}

#[test]
fn each_missing_or_unreadable_header_is_named() {
    let header = HeaderName::from_static;
    let cases = [
        (named("standard-webhooks", &[SECRET]), vec![ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER]),
        (named("github", &[SECRET]), vec!["x-hub-signature-256"]),
        (named("stripe", &[SECRET]), vec!["stripe-signature"]),
        (named("slack", &[SECRET]), vec!["x-slack-signature", "x-slack-request-timestamp"]),
        (named("shopify", &[SECRET]), vec!["x-shopify-hmac-sha256"]),
        (custom(&[SECRET]), vec!["x-signature", ID_HEADER]),
    ];
    for (signing, names) in cases {
        for name in names {
            let mut request = request(&signing, "a", b"");
            request.headers.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
            assert_eq!(verify(&signing, &request), Err(VerifyError::NotText(header(name))));
            request.headers.remove(name);
            assert_eq!(verify(&signing, &request), Err(VerifyError::Missing(header(name))));
        }
    }
}

#[test]
fn a_timestamp_that_is_signed_must_be_within_five_minutes() {
    for signing in every_scheme() {
        let request = request(&signing, "a", b"{}");
        assert_eq!(verify(&signing, &arriving(request.clone(), 300)), Ok(()));
        assert_eq!(verify(&signing, &arriving(request.clone(), -300)), Ok(()));
        let (late, early) = (arriving(request.clone(), 301), arriving(request, -301));
        if ["github", "shopify"].contains(&signing.scheme.name()) {
            assert_eq!(verify(&signing, &late), Ok(()), "nothing in it says when it was sent");
            continue;
        }
        assert!(matches!(verify(&signing, &late), Err(VerifyError::TooOld(_, 301))), "{:?}", signing.scheme);
        assert!(matches!(verify(&signing, &early), Err(VerifyError::TooNew(_, 301))), "{:?}", signing.scheme);
    }
}

#[test]
fn a_timestamp_that_is_none_is_told() {
    let signing = named("standard-webhooks", &[SECRET]);
    let mut request = request(&signing, "a", b"");
    for text in [i64::MIN, i64::MAX] {
        request.headers.insert(TIMESTAMP_HEADER, text.into());
        assert!(verify(&signing, &request).is_err());
    }
    request.headers.insert(TIMESTAMP_HEADER, HeaderValue::from_static("hello"));
    let not_seconds = |name| Err(VerifyError::NotSeconds(HeaderName::from_static(name)));
    assert_eq!(verify(&signing, &request), not_seconds(TIMESTAMP_HEADER));
    let stripe = named("stripe", &[SECRET]);
    request.headers.insert("stripe-signature", HeaderValue::from_static("t=now,v1=00"));
    assert_eq!(verify(&stripe, &request), not_seconds("stripe-signature"));
}

#[test]
fn one_right_signature_among_several_is_enough() {
    for (scheme, right, wrong) in [("standard-webhooks", SECRET, OTHER), ("stripe", SECRET, OTHER)] {
        let both = request(&named(scheme, &[wrong, right]), "a", b"{}");
        assert_eq!(verify(&named(scheme, &[right]), &both), Ok(()));
        assert!(is_mismatch(&verify(&named(scheme, &[right]), &request(&named(scheme, &[wrong]), "a", b"{}"))));
        let rotated = named(scheme, &[wrong, right]);
        assert_eq!(verify(&rotated, &request(&named(scheme, &[right]), "a", b"{}")), Ok(()));
    }
}

#[test]
fn a_public_key_verifies() {
    let signed = request(&named("standard-webhooks-ed25519", &[PAIR]), "a", b"{}");
    assert_eq!(verify(&named("standard-webhooks-ed25519", &[PUBLIC]), &signed), Ok(()));
    let alone = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert!(is_mismatch(&verify(&named("standard-webhooks-ed25519", &[alone]), &signed)));
}

#[test]
fn what_is_no_signature_is_told() {
    let signing = named("standard-webhooks", &[SECRET]);
    let mut request = request(&signing, "a", b"");
    let right = request.headers[SIGNATURE_HEADER].to_str().unwrap().to_owned();
    let no_form = "`webhook-signature` has no signature of the form `v1,{{signature}}`";
    let encoding =
        "the signature in `webhook-signature` is not 32 bytes in base64: the algorithm or the encoding is another";
    for (signature, error) in [
        (right.replace("v1,", "v1a,"), no_form),
        ("v1".to_owned(), no_form),
        ("v1,".to_owned(), encoding),
        (right[..right.len() - 8].to_owned(), encoding),
        ("v1,not base64!".to_owned(), encoding),
        (
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
            "no signature matches: the secret is another, or the id, timestamp or body were changed on the way",
        ),
    ] {
        request.headers.insert(SIGNATURE_HEADER, signature.parse().unwrap());
        assert_eq!(verify(&signing, &request).unwrap_err().to_string(), error, "{signature}");
    }
    request.headers.insert(SIGNATURE_HEADER, format!("v1a,xx {right}").parse().unwrap());
    assert_eq!(verify(&signing, &request), Ok(()), "other versions may stand beside it");
    let github = named("github", &[SECRET]);
    request.headers.insert("x-hub-signature-256", format!("sha256={}", "0".repeat(64)).parse().unwrap());
    let told = verify(&github, &request).unwrap_err().to_string();
    assert_eq!(told, "no signature matches: the secret is another, or the body was changed on the way");
    let stripe = named("stripe", &[SECRET]);
    request.headers.insert("stripe-signature", HeaderValue::from_static("v1=00"));
    let told = verify(&stripe, &request).unwrap_err().to_string();
    assert_eq!(told, "`stripe-signature` has no timestamp of the form `t={{timestamp}}`");
}

#[test]
fn every_part_that_a_custom_scheme_names_counts() {
    let signing = custom(&[SECRET, OTHER]);
    let right = request(&signing, "a", b"{}");
    assert_eq!(verify(&custom(&[OTHER]), &right), Ok(()));
    let mut changed = right.clone();
    changed.method = Method::PUT;
    assert!(is_mismatch(&verify(&signing, &changed)));
    let mut changed = right.clone();
    changed.path_and_query = "/hooks?a=2".into();
    assert!(is_mismatch(&verify(&signing, &changed)));
    let mut changed = right;
    changed.headers.insert(ID_HEADER, HeaderValue::from_static("b"));
    assert!(is_mismatch(&verify(&signing, &changed)));
}

#[test]
fn what_cannot_be_used_is_reported() {
    let wrong = SigningConfig { content: Some("{{bdy}}".into()), ..custom(&["hunter2"]) };
    assert_eq!(Verifier::new(&wrong).unwrap_err().len(), 2);
}

proptest! {
    #[test]
    fn what_was_signed_verifies_and_nothing_else(
        event_id in "\\PC{1,40}",
        body in proptest::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let signing = named("standard-webhooks", &[SECRET, OTHER]);
        let id = webhook_id(&event_id);
        let right = request(&signing, &id, &body);
        prop_assert_eq!(verify(&signing, &right), Ok(()));

        let mut tampered = right.clone();
        let mut bytes = body.clone();
        bytes[at.index(body.len())] ^= 1_u8 << bit;
        tampered.body = bytes.into();
        prop_assert!(is_mismatch(&verify(&signing, &tampered)));

        let mut later = right.clone();
        later.headers.insert(TIMESTAMP_HEADER, (SENT + 1).into());
        prop_assert!(is_mismatch(&verify(&signing, &later)));
        let mut renamed = right;
        renamed.headers.insert(ID_HEADER, format!("{id}x").parse().unwrap());
        prop_assert!(is_mismatch(&verify(&signing, &renamed)));
    }

    #[test]
    fn no_header_makes_a_verifier_panic(value in "[ -~]{0,120}", timestamp in "[0-9-]{0,22}") {
        for signing in every_scheme() {
            let mut request = request(&signing, "a", b"{}");
            for header in signing.headers() {
                request.headers.insert(header, HeaderValue::from_str(&value).unwrap());
            }
            request.headers.insert(TIMESTAMP_HEADER, HeaderValue::from_str(&timestamp).unwrap());
            prop_assert!(verify(&signing, &request).is_err());
        }
    }
}
