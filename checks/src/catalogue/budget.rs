//! How much a check may look at for one object.

/// No request may take long, however large an object is and whatever stands beside it: a
/// check that has spent its budget says nothing more.
#[derive(Debug)]
pub(super) struct Budget(pub usize);

impl Budget {
    /// Takes `cost` away; `false` when nothing is left.
    pub(super) fn spend(&mut self, cost: usize) -> bool {
        self.0 = self.0.saturating_sub(cost);
        self.0 > 0
    }
}
