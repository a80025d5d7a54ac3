//! TLS towards receivers: one configuration for all sinks of the process. Reading the system's certificate authorities
//! takes longer than all else at the start of a pipeline, and half a megabyte each time.

use std::sync::LazyLock;

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt as _;

/// The configuration: certificates are checked as the platform does, against the authorities that the system had when
/// this was first asked for; HTTP/2 is offered.
///
/// # Errors
/// When the system has no usable authorities.
pub(super) fn client_config() -> Result<ClientConfig, String> {
    static CONFIG: LazyLock<Result<ClientConfig, String>> = LazyLock::new(|| {
        // Fails only when a provider is installed already, which is what is wanted.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut config = ClientConfig::with_platform_verifier().map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are resumed per server, however many sinks there are.
        config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    });
    CONFIG.clone()
}

/// As many servers are remembered, to resume a TLS session.
const SESSIONS: usize = 1024;
