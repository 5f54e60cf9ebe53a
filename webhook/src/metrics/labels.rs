//! The values that labels take.

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was said.
    Allowed,
    /// Allowed with warnings.
    Warned,
    /// Allowed and changed.
    Patched,
    /// Refused for what was found.
    Denied,
    /// Refused because the request makes no sense.
    Invalid,
    /// None of our business.
    Skipped,
    /// Exempt by configuration.
    Exempt,
}

/// Why a body got no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More than 12 MiB.
    TooLarge,
    /// No `AdmissionReview`.
    NoReview,
    /// Too many bytes or requests at a time.
    Overloaded,
    /// It did not arrive in time.
    Slow,
    /// The connection broke.
    Broken,
    /// It arrived, but judging it took longer than the API server waits.
    Overrun,
}

/// What is loaded anew when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Certificate and key.
    Tls,
    /// The configuration of checks.
    Configuration,
}

// === impl Outcome ===

impl Outcome {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Patched => "patched",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Skipped => "skipped",
            Self::Exempt => "exempt",
        }
    }
}

// === impl Refused ===

impl Refused {
    pub(super) const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::NoReview,
        Self::Overloaded,
        Self::Slow,
        Self::Broken,
        Self::Overrun,
    ];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NoReview => "no_review",
            Self::Overloaded => "overloaded",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Overrun => "overrun",
        }
    }
}

// === impl Loaded ===

impl Loaded {
    pub(super) const ALL: [Self; 2] = [Self::Tls, Self::Configuration];

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Configuration => "configuration",
        }
    }
}
