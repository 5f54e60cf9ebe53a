//! Sets of addresses, as sorted ranges: ten thousand blocks with as many exceptions cost a
//! sort and no more, whoever wrote them.

use ipnet::IpNet;
use ringfence_policy::model::IpBlock;
use std::net::IpAddr;

/// A set of IPv4 and IPv6 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    v4: Spans,
    v6: Spans,
}

/// First and last address of each range; sorted, apart from each other by at least one.
type Spans = Vec<(u128, u128)>;

/// What IPv4 can name on the internet: from 1.0.0.0 to 223.255.255.255.
const UNICAST_V4: (u128, u128) = (0x0100_0000, 0xdfff_ffff);
/// The same for IPv6: `2000::/3`.
const UNICAST_V6: (u128, u128) = (0x2000 << 112, (0x4000 << 112) - 1);

// === impl Space ===

impl Space {
    /// The addresses of networks.
    pub fn of(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(_) => v4.push(span(&network)),
                IpNet::V6(_) => v6.push(span(&network)),
            }
        }
        Self {
            v4: unite(v4),
            v6: unite(v6),
        }
    }

    /// What blocks match together; each loses only its own exceptions.
    pub fn of_blocks<'a>(blocks: impl IntoIterator<Item = &'a IpBlock>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in blocks {
            let except = Self::of(block.except.iter().copied());
            let (all, except) = match block.cidr {
                IpNet::V4(_) => (&mut v4, except.v4),
                IpNet::V6(_) => (&mut v6, except.v6),
            };
            all.extend(subtract(span(&block.cidr), &except));
        }
        Self {
            v4: unite(v4),
            v6: unite(v6),
        }
    }

    /// Whether every address of `network` is in it.
    pub fn covers(&self, network: &IpNet) -> bool {
        let (first, last) = span(network);
        find(self.spans(network), first).is_some_and(|s| s.1 >= last)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(&address.into())
    }

    /// Whether some address of `network` is in it.
    pub fn overlaps(&self, network: &IpNet) -> bool {
        let (first, last) = span(network);
        let spans = self.spans(network);
        let from = spans.partition_point(|s| s.1 < first);
        spans.get(from).is_some_and(|s| s.0 <= last)
    }

    /// Whether every IPv4 (or IPv6) address that somebody on the internet can have is in it.
    pub fn is_world(&self, v4: bool) -> bool {
        let (spans, (first, last)) = if v4 {
            (&self.v4, UNICAST_V4)
        } else {
            (&self.v6, UNICAST_V6)
        };
        find(spans, first).is_some_and(|s| s.1 >= last)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn spans(&self, of: &IpNet) -> &[(u128, u128)] {
        match of {
            IpNet::V4(_) => &self.v4,
            IpNet::V6(_) => &self.v6,
        }
    }
}

/// The smallest network that holds all of `addresses`, which are of one family.
pub fn cover(addresses: impl IntoIterator<Item = IpAddr>) -> Option<IpNet> {
    let mut addresses = addresses.into_iter();
    let mut net = IpNet::from(addresses.next()?);
    for address in addresses {
        while !net.contains(&address) {
            net = net.supernet()?;
        }
    }
    Some(net)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn span(network: &IpNet) -> (u128, u128) {
    (number(network.network()), number(network.broadcast()))
}

/// The range that an address is in.
fn find(spans: &[(u128, u128)], address: u128) -> Option<&(u128, u128)> {
    let at = spans.partition_point(|s| s.1 < address);
    spans.get(at).filter(|s| s.0 <= address)
}

fn unite(mut spans: Spans) -> Spans {
    spans.sort_unstable();
    let mut united: Spans = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match united.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => united.push((first, last)),
        }
    }
    united
}

/// What is left of a range without `except`, which is sorted.
fn subtract((first, last): (u128, u128), except: &[(u128, u128)]) -> Spans {
    let mut left = Vec::new();
    let mut next = first;
    for (from, to) in except.iter().filter(|s| s.1 >= first && s.0 <= last) {
        if *from > next {
            left.push((next, from - 1));
        }
        if *to >= last {
            return left;
        }
        next = to + 1;
    }
    left.push((next, last));
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace()
            .map(|t| t.parse().unwrap())
            .collect()
    }

    fn block(cidr: &str, except: &str) -> IpBlock {
        IpBlock {
            cidr: cidr.parse().unwrap(),
            except: nets(except),
        }
    }

    #[test_case("10.0.0.0/9 10.128.0.0/9", "10.0.0.0/8", true; "two halves")]
    #[test_case("10.0.0.0/9", "10.0.0.0/8", false; "one half")]
    #[test_case("0.0.0.0/0", "::/0", false; "another family")]
    #[test_case("::/1 8000::/1", "::/0", true; "two halves of IPv6")]
    #[test_case("10.0.0.0/8", "10.1.2.3/32", true; "an address in it")]
    #[test_case("", "10.1.2.3/32", false; "nothing")]
    fn covers(space: &str, network: &str, expected: bool) {
        assert_eq!(
            Space::of(nets(space)).covers(&network.parse().unwrap()),
            expected
        );
    }

    #[test]
    fn an_exception_belongs_to_its_own_block() {
        let both = [
            block("0.0.0.0/0", "10.0.0.0/8 192.168.0.0/16"),
            block("10.1.0.0/16", ""),
        ];
        let space = Space::of_blocks(&both);
        assert!(space.covers(&"10.1.0.0/16".parse().unwrap()));
        assert!(!space.overlaps(&"10.2.0.0/16".parse().unwrap()));
        assert!(space.overlaps(&"10.0.0.0/8".parse().unwrap()));
        assert!(!space.overlaps(&"192.168.7.0/24".parse().unwrap()));
        assert!(space.contains("11.0.0.0".parse().unwrap()));
        assert!(space.contains("255.255.255.255".parse().unwrap()));
    }

    #[test]
    fn everything_less_everything_is_nothing() {
        assert!(Space::of_blocks(&[block("::/0", "::/1 8000::/1")]).is_empty());
    }

    #[test_case("0.0.0.0/1 128.0.0.0/2 192.0.0.0/3", true, true; "all unicast")]
    #[test_case("0.0.0.0/1 128.0.0.0/2", true, false; "less a quarter")]
    #[test_case("2000::/4 3000::/4", false, true; "global unicast")]
    fn world(space: &str, v4: bool, expected: bool) {
        assert_eq!(Space::of(nets(space)).is_world(v4), expected);
    }

    #[test_case("10.96.0.1 10.96.0.10" => Some("10.96.0.0/28".parse().unwrap()); "near")]
    #[test_case("10.96.0.1 10.97.0.1" => Some("10.96.0.0/15".parse().unwrap()); "far")]
    #[test_case("fd00::1" => Some("fd00::1/128".parse().unwrap()); "one")]
    #[test_case("" => None; "none")]
    fn covering(addresses: &str) -> Option<IpNet> {
        cover(addresses.split_whitespace().map(|a| a.parse().unwrap())).map(|n| n.trunc())
    }
}
