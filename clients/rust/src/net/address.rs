//! Host and port of servers, and URLs.

use redis::io::tcp::{socket2::TcpKeepalive, TcpSettings};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::error::Error;

/// Host and port.
pub(crate) type Address = (String, u16);

/// TCP keepalive: after 10 s of silence three probes are sent, 5 s apart. It finds a server that vanished without
/// closing its connections.
const KEEPALIVE_IDLE: std::time::Duration = std::time::Duration::from_secs(10);
const KEEPALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Reads a URL. Adds the settings that this crate needs: invalidation messages need RESP3.
pub(crate) fn parse_url(url: &str) -> Result<ConnectionInfo, Error> {
    let info = url.into_connection_info().map_err(|_| Error::Invalid("a URL is not one of a Redis server"))?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(redis::ProtocolVersion::RESP3)
        .set_lib_name("redis-lock-client", env!("CARGO_PKG_VERSION"));
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Host and port of a server. A server that is not reached over TCP has its description as host, and port 0.
pub(crate) fn address_of(info: &ConnectionInfo) -> Address {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        other => (other.to_string(), 0),
    }
}

/// The same user, password, database and TLS at another address.
pub(crate) fn at_address(template: &ConnectionInfo, (host, port): Address) -> ConnectionInfo {
    let address = match template.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(host, port),
        // A socket in the file system has one address only.
        other => other,
    };
    template.clone().set_addr(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_keeps_the_user_password_and_database_of_the_url() {
        let template = parse_url("redis://user:secret@ignored/2").unwrap();
        let node = at_address(&template, ("there".into(), 7));
        assert_eq!(address_of(&node), ("there".into(), 7));
        let settings = node.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("secret"), 2));
    }
}
