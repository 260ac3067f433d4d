//! In charge of who a client is to the gateway's bounds: the subject of its token, else where it comes from.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::auth::Caller;
use crate::config::{ForwardedHeader, Limits};

/// The other end of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Whom a request is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Client {
    Subject(String),
    Address(IpAddr),
}

impl Client {
    pub fn of(caller: Option<&Caller>, address: IpAddr) -> Self {
        match caller.and_then(Caller::subject) {
            Some(subject) => Client::Subject(subject),
            None => Client::Address(counted_as(address)),
        }
    }
}

/// One customer has at least 64 bits of IPv6 to choose addresses from (RFC 6177).
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(prefix).into()
        }
        address => address,
    }
}

pub fn is_trusted(limits: &Limits, address: IpAddr) -> bool {
    let is_in = |network: &IpNet| network.contains(&address.to_canonical());
    limits.trusted_proxies.iter().any(is_in)
}

/// Where a request comes from: the last address on its way here that is no proxy of ours. What stands
/// before it was written by somebody else.
pub fn address(limits: &Limits, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = peer.to_canonical();
    if !is_trusted(limits, address) {
        return address;
    }
    let name = match limits.forwarded_header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
    };
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
        let said = match limits.forwarded_header {
            ForwardedHeader::XForwardedFor => Some(hop),
            ForwardedHeader::Forwarded => forwarded_for(hop),
        };
        // What can't be read ends what is known: the proxy that passed it on is the client.
        let Some(next) = said.and_then(read) else { break };
        address = next;
        if !is_trusted(limits, address) {
            break;
        }
    }
    address
}

/// `for=192.0.2.60;proto=http` and `for="[2001:db8::17]:4711"` (RFC 7239, 4 and 6).
fn forwarded_for(hop: &str) -> Option<&str> {
    hop.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// An address, in brackets or quotes, with a port or without.
fn read(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|both| both.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cli, Command};
    use clap::Parser;

    fn limits(header: &str) -> Limits {
        let line =
            ["godwit", "serve", "--database-url", "x", "--trusted-proxies", "10.0.0.0/8,fd00::/8"];
        let cli = Cli::parse_from(line.into_iter().chain(["--forwarded-header", header]));
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        serve.limits
    }

    #[track_caller]
    fn check(header: &str, peer: &str, lines: &[(&'static str, &str)], expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let found = address(&limits(header), peer.parse().unwrap(), &headers);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_has_written() {
        let name = "x-forwarded-for";
        let xff = |peer, value, expected| check(name, peer, &[(name, value)], expected);
        xff("192.0.2.1", "203.0.113.9", "192.0.2.1");
        xff("10.0.0.1", "203.0.113.9", "203.0.113.9");
        xff("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9");
        xff("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.2.2.2", "203.0.113.9");
        xff("10.0.0.1", "10.3.3.3, 10.2.2.2", "10.3.3.3");
        xff("10.0.0.1", "203.0.113.9:4711", "203.0.113.9");
        xff("fd00::1", "[2001:db8::1]:80", "2001:db8::1");
        xff("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1");
        xff("10.0.0.1", "", "10.0.0.1");
        check(name, "10.0.0.1", &[(name, "1.1.1.1"), (name, "2.2.2.2")], "2.2.2.2");
        check(name, "10.0.0.1", &[("forwarded", "for=1.1.1.1")], "10.0.0.1");
        let both = [
            (name, "1.1.1.1"),
            ("forwarded", "for=9.9.9.9, For=\"[2001:db8::17]:4711\";proto=https"),
        ];
        check("forwarded", "10.0.0.1", &both, "2001:db8::17");
        check("forwarded", "10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let of = |address: &str| counted_as(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_subject_is_a_client_wherever_it_comes_from() {
        let claims = |claims: &str| Caller::Role { role: "r".into(), claims: claims.into() };
        let at = "192.0.2.1".parse().unwrap();
        let amina = Client::of(Some(&claims(r#"{"sub":"amina"}"#)), at);
        assert_eq!(amina, Client::Subject("amina".into()));
        for other in [Some(&claims("{}")), Some(&Caller::Login), None] {
            assert_eq!(Client::of(other, at), Client::Address(at));
        }
    }
}
