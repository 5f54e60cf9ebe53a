//! From a request that failed to what a person can read.

use std::error::Error;

/// What the API server said, or why there was no answer, down to the innermost cause.
pub fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.code);
    }
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many layers only repeat what the one below says.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use std::io;

    #[test]
    fn the_servers_own_words() {
        let status = Status::failure("secrets \"x\" is forbidden: no", "Forbidden").with_code(403);
        let error = kube::Error::Api(Box::new(status));
        assert_eq!(explain(&error), "secrets \"x\" is forbidden: no (403)");
    }

    #[test]
    fn the_innermost_cause_once() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = kube::Error::Service(Box::new(refused));
        assert_eq!(explain(&error).matches("connection refused").count(), 1);
    }
}
