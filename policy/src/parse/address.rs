//! Addresses and networks, as strictly as Kubernetes validates new objects.

use ipnet::IpNet;
use std::net::IpAddr;

/// An address without leading zeros that is not an IPv4 address in IPv6 clothes:
/// programs disagree about what those mean, so that a rule may match something else
/// than its author reads.
pub(super) fn address(text: &str) -> Result<IpAddr, &'static str> {
    match text.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err("write an IPv4-mapped address as the IPv4 address that it means")
        }
        Ok(ip) => Ok(ip),
        Err(_) if has_leading_zero(text) => Err("write the address without leading zeros"),
        Err(_) => Err("write an IPv4 or IPv6 address"),
    }
}

/// A network; host bits are cut off, as upstream does.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let Some((ip, prefix)) = text.split_once('/') else {
        return Err(if address(text).is_ok() {
            "add the prefix length: /32 for one IPv4 address, /128 for one IPv6 address"
        } else {
            "write a network such as 10.0.0.0/8 or 2001:db8::/32"
        });
    };
    if prefix.starts_with('/') {
        return Err(
            "a URL is no network: write the host's address as a network such as 10.1.0.1/32, \
             and its port under `ports`",
        );
    }
    let ip = address(ip)?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    if !digits || (prefix.len() > 1 && prefix.starts_with('0')) {
        return Err("write the prefix length as a plain number, such as /24");
    }
    prefix
        .parse()
        .ok()
        .and_then(|length: u8| IpNet::new(ip, length).ok())
        .map(|net| net.trunc())
        .ok_or("write a prefix length of at most 32 for IPv4 and 128 for IPv6")
}

fn has_leading_zero(text: &str) -> bool {
    let octets: Vec<&str> = text.split('.').collect();
    octets.len() == 4
        && octets
            .iter()
            .all(|o| !o.is_empty() && o.bytes().all(|b| b.is_ascii_digit()))
        && octets.iter().any(|o| o.len() > 1 && o.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("10.1.2.3/8", "10.0.0.0/8"; "host bits are cut off")]
    #[test_case("0.0.0.0/0", "0.0.0.0/0"; "everything of IPv4")]
    #[test_case("2001:db8::1/64", "2001:db8::/64"; "IPv6")]
    fn a_network(text: &str, expected: &str) {
        assert_eq!(network(text).unwrap().to_string(), expected);
    }

    #[test_case("10.0.0.1", "prefix length"; "no prefix")]
    #[test_case("10.0.0.0/33", "at most 32"; "prefix too long")]
    #[test_case("10.0.0.0/999", "at most 32"; "prefix beyond a byte")]
    #[test_case("10.0.0.0/08", "plain number"; "leading zero in the prefix")]
    #[test_case("10.0.0.0/+8", "plain number"; "sign in the prefix")]
    #[test_case("10.0.0.0/", "plain number"; "empty prefix")]
    #[test_case("010.0.0.0/8", "leading zeros"; "leading zero in an octet")]
    #[test_case("::ffff:10.0.0.0/104", "IPv4-mapped"; "mapped")]
    #[test_case("10.0.0/8", "IPv4 or IPv6"; "three octets")]
    #[test_case("http://10.1.0.1:80", "10.1.0.1/32, and its port under `ports`"; "a URL")]
    #[test_case("", "such as 10.0.0.0/8"; "empty")]
    fn no_network(text: &str, remedy: &str) {
        let error = network(text).unwrap_err();
        assert!(error.contains(remedy), "{error}");
    }
}
