//! The bit of the packet mark that is ours.

use std::fmt;
use std::str::FromStr;

/// One bit of the packet mark and of the connection mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

/// Bits that others are known to use, and who.
const TAKEN: [(u32, &str); 7] = [
    (0x80, "the AWS VPC CNI (0x80)"),
    (0x0f00, "Cilium (0x0f00)"),
    (0x2000, "the portmap CNI plugin (0x2000)"),
    (0x4000, "kube-proxy, packets to be masqueraded (0x4000)"),
    (0x8000, "kube-proxy, packets to be dropped (0x8000)"),
    (0x00ff_0000, "Tailscale (0xff0000)"),
    (0xffff_0000, "Calico (the upper 16 bits)"),
];

// === impl Mark ===

impl Mark {
    /// The mask, exactly one bit.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Other programs that are known to use the same bit.
    pub fn collisions(self) -> impl Iterator<Item = &'static str> {
        TAKEN
            .into_iter()
            .filter(move |(bits, _)| bits & self.0 != 0)
            .map(|(_, who)| who)
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self(0x1000)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        match parsed {
            Ok(bits) if bits.is_power_of_two() => Ok(Self(bits)),
            _ => Err(format!(
                "found {text:?}; write a 32-bit number with exactly one bit set, for example 0x1000"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;
    use test_case::test_case;

    #[test_case("0x1000", 0x1000; "the default")]
    #[test_case("4096", 0x1000; "decimal")]
    #[test_case("0X80000000", 0x8000_0000; "the highest")]
    fn reads(text: &str, bits: u32) {
        assert_eq!(text.parse::<Mark>().unwrap().bits(), bits);
    }

    #[test_case("0"; "no bit")]
    #[test_case("0x3000"; "two bits")]
    #[test_case("0x100000000"; "33 bits")]
    #[test_case("0x1000/0x1000"; "with a mask")]
    #[test_case(""; "empty")]
    fn refuses(text: &str) {
        assert!(
            text.parse::<Mark>()
                .unwrap_err()
                .contains("exactly one bit")
        );
    }

    #[test_case("0x1000", &[]; "default is free")]
    #[test_case("0x80", &["AWS"]; "aws")]
    #[test_case("0x0400", &["Cilium"]; "cilium")]
    #[test_case("0x2000", &["portmap"]; "portmap")]
    #[test_case("0x4000", &["kube-proxy"]; "masquerade")]
    #[test_case("0x8000", &["kube-proxy"]; "drop")]
    #[test_case("0x10000", &["Tailscale", "Calico"]; "two at once")]
    #[test_case("0x1000000", &["Calico"]; "calico")]
    fn names_who_else_uses_it(text: &str, who: &[&str]) {
        let found: Vec<&str> = text.parse::<Mark>().unwrap().collisions().collect();
        assert_eq!(found.len(), who.len(), "{found:?}");
        for (found, expected) in found.iter().zip(who) {
            assert!(found.contains(expected), "{found}");
        }
    }
}
