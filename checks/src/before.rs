//! What an object was before an update.

use crate::Subject;
use std::cell::LazyCell;
use std::fmt;

/// The object that an update replaces. Most checks never ask for it, and the webhook reads
/// it only for one that does.
#[derive(Clone, Copy)]
pub enum Before<'a> {
    /// There was none: the object is new, or nobody knows.
    Nothing,
    /// It has been read.
    Known(&'a Subject<'a>),
    /// It is read when first asked for.
    Unread(&'a dyn Unread),
}

/// An object that is read when first asked for: a [`LazyCell`].
pub trait Unread {
    /// The object; `None`: it cannot be understood.
    fn get(&self) -> Option<&Subject<'_>>;
}

impl<'v, F: FnOnce() -> Option<Subject<'v>>> Unread for LazyCell<Option<Subject<'v>>, F> {
    fn get(&self) -> Option<&Subject<'_>> {
        self.as_ref()
    }
}

// === impl Before ===

impl<'a> Before<'a> {
    /// The object.
    pub fn get(self) -> Option<&'a Subject<'a>> {
        match self {
            Self::Nothing => None,
            Self::Known(subject) => Some(subject),
            Self::Unread(cell) => cell.get(),
        }
    }
}

impl<'a> From<Option<&'a Subject<'a>>> for Before<'a> {
    fn from(subject: Option<&'a Subject<'a>>) -> Self {
        subject.map_or(Self::Nothing, Self::Known)
    }
}

impl fmt::Debug for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Known(_) => "Known",
            Self::Unread(_) => "Unread",
        })
    }
}
