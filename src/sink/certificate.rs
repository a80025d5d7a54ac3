//! What is wrong with a receiver's certificate, in words that say what to do. It only reads errors.

use std::error::Error;

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// What is wrong with the receiver's certificate, if that is why there is no connection.
pub(super) fn fault(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(fault)) => Some(explain(fault)),
        _ => None,
    }
}

fn explain(fault: &CertificateError) -> String {
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the receiver's certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let date = date(*not_before);
            format!("the receiver's certificate is not valid before {date}, by the clock of this machine")
        }
        CertificateError::NotValidForNameContext { expected, presented } if !presented.is_empty() => {
            let (expected, names) = (expected.to_str(), names(presented));
            format!("the receiver's certificate is for {names}, not for {expected}")
        }
        CertificateError::UnknownIssuer => {
            "this system does not know the authority that has signed the receiver's certificate. Either the authority \
             is to be added to those of this system (or to a file that SSL_CERT_FILE names), or the receiver does not \
             send its intermediate certificates"
                .to_owned()
        }
        other => format!("the receiver's certificate is not valid: {other}"),
    }
}

/// As many names of a certificate are told.
const MOST_NAMES: usize = 5;

/// The first names of a certificate. The library shows them as `DnsName("receiver.example")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let told: Vec<_> = presented.iter().take(MOST_NAMES).map(bare).collect();
    match presented.len() - told.len() {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let date = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    date.map_or_else(|| format!("{} s after 1970", time.as_secs()), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn a_date_is_written_for_people_and_names_without_decoration() {
        let time = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: time(1_700_000_000), not_after: time(1_609_459_200) };
        assert_eq!(explain(&expired), "the receiver's certificate expired on 2021-01-01T00:00:00Z");
        assert_eq!(date(time(u64::MAX)), "18446744073709551615 s after 1970");
        let expected = ServerName::try_from("hooks.example").unwrap();
        let presented = vec![r#"DnsName("a.example")"#.to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        let other = CertificateError::NotValidForNameContext { expected, presented };
        let text = explain(&other);
        assert_eq!(text, "the receiver's certificate is for a.example, IpAddress(10.0.0.1), not for hooks.example");
        assert!(fault(&rustls::Error::HandshakeNotComplete).is_none());
    }
}
