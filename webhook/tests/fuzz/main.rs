//! Some thousand requests gone wrong; `examples/fuzz.rs` goes on for minutes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod mutate;

#[test]
fn no_request_panics_and_every_answer_makes_sense() {
    assert_eq!(mutate::run(7, |done| done < 3000), 3000);
}
