//! Certificates as receivers have them, sound and otherwise.

use std::path::Path;
use std::process::Command;

/// A certificate of the test's own authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Sound, for `localhost`.
    Valid,
    /// It has expired at the beginning of 2021.
    Expired,
    /// It becomes valid in 2098.
    NotYetValid,
    /// It is for `other.example`.
    OtherName,
}

/// Makes an authority (`ca.pem`) and a certificate of it (`server.pem`, `server.key`) in this folder.
pub(crate) fn certify(folder: &Path, certificate: Certificate) {
    let name = if certificate == Certificate::OtherName { "other.example" } else { "localhost" };
    let (from, until) = match certificate {
        Certificate::Valid | Certificate::OtherName => (2020, 2099),
        Certificate::Expired => (2020, 2021),
        Certificate::NotYetValid => (2098, 2099),
    };
    std::fs::write(folder.join("extensions"), format!("subjectAltName=DNS:{name}\n")).unwrap();
    std::fs::write(folder.join("authority.conf"), AUTHORITY).unwrap();
    std::fs::write(folder.join("issued"), "").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -subj /CN=test-ca -days 2 -keyout ca.key -out ca.pem"));
    openssl(folder, &format!("req {key} -subj /CN={name} -keyout server.key -out server.csr"));
    let dates = format!("-startdate {from}0101000000Z -enddate {until}0101000000Z");
    openssl(
        folder,
        &format!("ca -batch -notext -config authority.conf -extfile extensions {dates} -in server.csr -out server.pem"),
    );
}

/// `openssl ca` alone takes dates in the past, and it takes the rest from a file only.
const AUTHORITY: &str = "[ca]
default_ca = authority
[authority]
certificate = ca.pem
private_key = ca.key
database = issued
new_certs_dir = .
rand_serial = yes
policy = names
default_md = sha256
[names]
commonName = supplied
";

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
