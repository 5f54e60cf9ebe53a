//! `ipBlock`s to networks: exceptions are subtracted, siblings united.

use crate::model::IpBlock;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the `ipBlock`s of one rule cover together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Networks {
    /// Every IPv4 address.
    pub(super) all_v4: bool,
    /// Every IPv6 address.
    pub(super) all_v6: bool,
    /// The networks of families that are not covered whole: the fewest possible, sorted.
    pub(super) rest: Vec<IpNet>,
}

/// First and last address, of one family.
type Range = (IpAddr, IpAddr);

/// Works on sorted ranges of addresses rather than on networks, so that ten thousand
/// blocks with as many exceptions cost a sort. IPv4 sorts before IPv6, and the last
/// address of a family has no successor: the families never run together.
pub(super) fn networks(blocks: &[&IpBlock]) -> Networks {
    let mut ranges = Vec::with_capacity(blocks.len());
    for block in blocks {
        subtract(block, &mut ranges);
    }
    let mut result = Networks::default();
    for range in unite(ranges) {
        match range {
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST)) => {
                result.all_v4 = true;
            }
            (IpAddr::V6(first), IpAddr::V6(last))
                if first == Ipv6Addr::UNSPECIFIED && u128::from(last) == u128::MAX =>
            {
                result.all_v6 = true;
            }
            (IpAddr::V4(first), IpAddr::V4(last)) => result
                .rest
                .extend(Ipv4Subnets::new(first, last, 0).map(IpNet::V4)),
            (IpAddr::V6(first), IpAddr::V6(last)) => result
                .rest
                .extend(Ipv6Subnets::new(first, last, 0).map(IpNet::V6)),
            // A range begins and ends in one family.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }
    result
}

fn range(network: &IpNet) -> Range {
    (network.network(), network.broadcast())
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_add(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_add(1)?).into()),
    }
}

fn predecessor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_sub(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_sub(1)?).into()),
    }
}

/// Appends what is left of a block without its own exceptions.
fn subtract(block: &IpBlock, left: &mut Vec<Range>) {
    let (first, last) = range(&block.cidr);
    let mut holes: Vec<Range> = block
        .except
        .iter()
        .map(range)
        .filter(|hole| hole.0.is_ipv4() == first.is_ipv4())
        .collect();
    holes.sort_unstable();
    let mut next = Some(first);
    for (from, to) in holes {
        let Some(at) = next else { return };
        if from > last {
            break;
        }
        if to < at {
            continue;
        }
        if let Some(end) = predecessor(from).filter(|end| from > at && *end >= at) {
            left.push((at, end));
        }
        next = successor(to).filter(|address| *address <= last);
    }
    if let Some(at) = next {
        left.push((at, last));
    }
}

/// Sorts ranges and joins those that overlap or touch.
fn unite(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut united: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match united.last_mut() {
            Some(before) if first <= before.1 || successor(before.1) == Some(first) => {
                before.1 = before.1.max(last);
            }
            _ => united.push((first, last)),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn block(text: &str) -> IpBlock {
        let mut parts = text.split(" - ");
        IpBlock {
            cidr: parts.next().unwrap().parse().unwrap(),
            except: parts.map(|e| e.parse().unwrap()).collect(),
        }
    }

    #[test_case(&["10.0.0.0/8"], "10.0.0.0/8"; "one block")]
    #[test_case(&["10.0.0.0/8 - 10.0.0.0/9"], "10.128.0.0/9"; "first half out")]
    #[test_case(&["10.0.0.0/8 - 10.128.0.0/9"], "10.0.0.0/9"; "second half out")]
    #[test_case(&["10.0.0.0/30 - 10.0.0.1/32 - 10.0.0.2/32"], "10.0.0.0/32 10.0.0.3/32"; "holes")]
    #[test_case(&["10.0.0.0/8 - 10.0.0.0/8"], ""; "nothing left")]
    #[test_case(&["10.0.0.0/8 - 10.0.0.0/7"], ""; "a wider exception")]
    #[test_case(&["10.0.0.0/8 - 11.0.0.0/8 - 9.0.0.0/8"], "10.0.0.0/8"; "exceptions outside")]
    #[test_case(&["10.0.0.0/8 - ::/0"], "10.0.0.0/8"; "an exception of the other family")]
    #[test_case(&["10.0.0.0/8 - 10.1.0.0/16 - 10.0.0.0/15", "10.1.2.0/24"],
        "10.1.2.0/24 10.2.0.0/15 10.4.0.0/14 10.8.0.0/13 10.16.0.0/12 10.32.0.0/11 10.64.0.0/10 10.128.0.0/9";
        "a sibling gives back what nested exceptions took")]
    #[test_case(&["10.0.0.0/9", "10.128.0.0/9", "10.5.0.0/16"], "10.0.0.0/8"; "siblings join")]
    #[test_case(&["0.0.0.0/0"], "v4"; "all of IPv4")]
    #[test_case(&["0.0.0.0/1", "128.0.0.0/1", "::/0"], "v4 v6"; "all of both, from halves")]
    #[test_case(&["255.255.255.255/32", "::/128"], "255.255.255.255/32 ::/128"; "families do not touch")]
    #[test_case(&["0.0.0.0/0 - 255.255.255.255/32 - 128.0.0.0/1", "::/0 - 8000::/1"], "0.0.0.0/1 ::/1"; "to the last address")]
    #[test_case(&["0.0.0.0/0 - 0.0.0.0/1"], "128.0.0.0/1"; "from the first address")]
    fn blocks(given: &[&str], wanted: &str) {
        let given: Vec<IpBlock> = given.iter().map(|text| block(text)).collect();
        let found = networks(&given.iter().collect::<Vec<_>>());
        let words: Vec<String> = [(found.all_v4, "v4"), (found.all_v6, "v6")]
            .iter()
            .filter(|(all, _)| *all)
            .map(|(_, word)| (*word).to_owned())
            .chain(found.rest.iter().map(ToString::to_string))
            .collect();
        assert_eq!(words.join(" "), wanted);
    }

    #[test]
    fn ten_thousand_blocks_with_exceptions() {
        let given: Vec<IpBlock> = (0..10_000u32)
            .map(|i| {
                let base = Ipv4Addr::from((10 << 24) + i * 512);
                block(&format!("{base}/24 - {base}/32"))
            })
            .collect();
        let found = networks(&given.iter().collect::<Vec<_>>());
        assert_eq!(found.rest.len(), 80_000);
        assert!(found.rest.is_sorted());
    }
}
